"""Bad input to any public function is refused by a message: the argument, and what was expected."""

from collections.abc import Callable, Iterator
from typing import Any

import bad_table
import numpy as np
import pytest
import torch
from bad_table import (
    CALLABLES,
    COLUMN,
    FLAT,
    HANG,
    HERE,
    NAN,
    SAID,
    SINE,
    VALLEY,
    bad_arguments,
    call,
    fault,
)
from formula import Formula

from samviz.dynamics import Run
from samviz.geometry import landscape, limiting_regularizer, pca_plane, top_eigenpairs
from samviz.problems import mlp, quadratic

pytestmark = HANG


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile before the first case, which would count as a hang."""
    Run(SINE, device="cpu").prepare()
    Run(VALLEY, device="cpu").prepare()
    top_eigenpairs(SINE, SINE.initial(), batch=torch.zeros(1, 1, dtype=torch.int64))


def test_every_public_argument_has_bad_values():
    missing = [
        f"{name}({argument})" for name in CALLABLES for argument, values in bad_arguments(name) if values is None
    ]
    assert not missing, f"no bad values for {', '.join(missing)}: add them to bad_table.py, or say why there are none"


def test_the_exceptions_of_the_table_exist():
    callables = {name for name, _ in bad_table.surface()}
    arguments = {f"{name}.{argument}" for name in CALLABLES for argument in bad_table.parameters(CALLABLES[name])}
    assert {*bad_table.FUNCTIONS, *bad_table.LEFT_OUT} - callables == set()
    assert {*bad_table.INSTEAD, *bad_table.MORE, *bad_table.ANY_VALUE, *bad_table.SAID} - arguments == set()


def finished(function):
    """Call a function and, if it returns an iterator, exhaust it."""
    result = function()
    if isinstance(result, Iterator):
        list(result)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLABLES)
def test_valid_values_are_accepted_and_each_bad_value_is_refused(name, tmp_path, monkeypatch):
    """By a message with the argument's name and what to do; no other exception, no result, no hang."""
    monkeypatch.chdir(tmp_path)
    if name not in bad_table.DRAWN_BY_PANELS:  # the panels' tests draw them
        finished(lambda: call(name))
    faults = []
    for argument, values in bad_arguments(name):
        for value in values or ():
            said = SAID.get(f"{name}.{argument}", argument)
            if wrong := fault(lambda argument=argument, value=value: call(name, **{argument: value}), said, value):
                faults.append(f"{argument} = {wrong}")
    assert not faults, "\n".join(faults)


LABELS = np.array([0, 1, 2])
# Several arguments that are each valid, or texts that say more than the argument and its value.
MESSAGES: dict[str, Callable[[], Any]] = {
    "spectrum is a matrix that is not symmetric": lambda: quadratic([[0.0, 1e-9], [0.0, 0.0]]),
    "data has 3 inputs and 4 targets; expected the same": lambda: mlp([1, 4, 1], data=(COLUMN, np.ones(4))),
    r"widths\[0\] is 2 but the data has 1 inputs": lambda: mlp([2, 4, 1], data=(COLUMN, COLUMN)),
    "network has 2 outputs but a target has 1 numbers": lambda: mlp([1, 4, 2], data=(COLUMN, COLUMN)),
    "network has 2 outputs for 3 classes": lambda: mlp([1, 4, 2], data=(COLUMN, LABELS)),
    "labels run from -1 to 1; expected 0 to 2": lambda: mlp([1, 4, 3], data=(COLUMN, LABELS - 1), loss="cross_entropy"),
    "labels run from 0 to 2; expected 0 to 1": lambda: mlp([1, 4, 2], data=(COLUMN, LABELS), loss="cross_entropy"),
    "'cross_entropy' but the targets are no": lambda: mlp([1, 4, 2], data=(COLUMN, COLUMN), loss="cross_entropy"),
    "lr has 3 values for 1 runs; expected one, or one per run": lambda: Run(SINE, lr=[0.1, 0.2, 0.3], device="cpu"),
    "batch_size is 1 but this loss is not a mean over samples": lambda: Run(FLAT, batch_size=1, device="cpu"),
    "radius": lambda: Run(FLAT, device="cpu").set(radius=0.1),
    "settings is {'lr': 0.1}": lambda: setattr(Run(FLAT, device="cpu"), "settings", {"lr": 0.1}),
    "positions holds 9 points that span no plane": lambda: pca_plane(torch.arange(9.0).double()[:, None].expand(9, 5)),
    "expected 1 to 1": lambda: landscape(quadratic([1.0]), torch.zeros(1)),
    "stochastic is True but the loss of quadratic is no mean over samples; use False": lambda: limiting_regularizer(
        FLAT, HERE, "average", True
    ),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_state_what_was_given_and_what_was_expected(message):
    with pytest.raises((ValueError, TypeError), match=message):
        MESSAGES[message]()


@pytest.mark.parametrize("k", [1, 2])  # eigh is silent about NaN in one or two rows, and raises in three
@pytest.mark.parametrize("warm", [False, True])
def test_a_search_for_eigenvectors_ends_if_the_loss_is_nan(warm, k):
    problem = Formula(600, lambda *x: sum(each**2 for each in x) * NAN)  # too large for its dense Hessian
    start = torch.eye(600, dtype=torch.float64)[None, : k + 1] if warm else None
    with pytest.raises(ValueError, match="Hessian of formula at x has NaN or infinity; pass an x"):
        top_eigenpairs(problem, problem.initial(), k, start=start)
