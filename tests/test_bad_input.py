"""Bad input to the whole public surface is refused in words: the argument, its value, and what was expected."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bad_table
import numpy as np
import pytest
import torch
from bad_table import CALLABLES, FLAT, HERE, SAID, SINE, VALLEY, bad_arguments, call
from bad_values import fault, no_hang
from torch import nn

import samviz
from samviz.dynamics import Run
from samviz.geometry import limiting_regularizer, top_eigenpairs, worst_direction_sharpness
from samviz.problems import from_module, load, mlp, quadratic


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Compile before the first case, which would count as a hang."""
    Run(SINE, device="cpu").prepare()
    Run(VALLEY, device="cpu").prepare()
    top_eigenpairs(SINE, SINE.initial(), batch=torch.zeros(1, 1, dtype=torch.int64))


def test_every_public_argument_has_bad_values() -> None:
    missing = [
        f"{name}({argument})" for name in CALLABLES for argument, values in bad_arguments(name) if values is None
    ]
    assert not missing, f"no bad values for {', '.join(missing)}: add them to bad_table.py, or say why there are none"


def test_the_exceptions_exist() -> None:
    callables = {name for name, _ in bad_table.surface()}
    arguments = {f"{name}.{argument}" for name in CALLABLES for argument in bad_table.parameters(CALLABLES[name])}
    assert {*bad_table.INSTEAD, *bad_table.FUNCTIONS, *bad_table.LEFT_OUT} - callables == set()
    assert {*bad_table.MORE, *bad_table.ANY_VALUE, *bad_table.SAID} - arguments == set()


@pytest.mark.parametrize("name", CALLABLES)
def test_valid_values_are_taken(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a case could be refused for another reason than its bad value."""
    if name in bad_table.DRAWN_BY_PANELS:
        pytest.skip("its argument is made by a panel, whose tests draw it")
    monkeypatch.chdir(tmp_path)
    with no_hang():
        answer = call(name)
        if isinstance(answer, Iterator):
            list(answer)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLABLES)
def test_a_bad_value_is_refused_in_words(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a message with the argument's name, the value, and what to do; no other exception, no result, no hang."""
    monkeypatch.chdir(tmp_path)
    faults = []
    for argument, values in bad_arguments(name):
        for value in values or ():
            said = SAID.get(f"{name}.{argument}", argument)
            if wrong := fault(lambda argument=argument, value=value: call(name, **{argument: value}), said, value):
                faults.append(f"{argument} = {wrong}")
    assert not faults, "\n".join(faults)


def test_the_judge_tells_a_refusal_from_a_fault() -> None:
    def refuse(message: str) -> None:
        raise ValueError(message)

    assert "taken" in fault(lambda: 1, "x", 3)
    assert "IndexError" in fault(lambda: [][1], "x", 3)
    assert fault(lambda: refuse("x is 3; expected 4"), "x", 3) == ""
    assert "no argument" in fault(lambda: refuse("it is 3; expected 4"), "x", 3)
    assert "no value" in fault(lambda: refuse("x is bad; expected 4"), "x", 3)
    assert "no remedy" in fault(lambda: refuse("x is 3"), "x", 3)


COLUMN, LABELS = np.ones((3, 1)), np.array([0, 1, 2])


def run(**options: Any) -> Run:
    return Run(SINE, **{"device": "cpu", **options})


MESSAGES: dict[str, Callable[[], Any]] = {
    r"spectrum has shape \(0,\); expected finite real numbers, eigenvalues": lambda: quadratic([]),
    "spectrum is a matrix that is not symmetric": lambda: quadratic([[0.0, 1e-9], [0.0, 0.0]]),
    "data='moons'.*'sine', 'spirals', 'digits'": lambda: load("moons"),
    "activation is 'swish'; expected one of tanh, relu": lambda: mlp([1, 4, 1], "swish"),
    "data has 3 inputs and 4 targets; expected the same": lambda: mlp([1, 4, 1], data=(COLUMN, np.ones(4))),
    "data has 0 inputs.*at least one": lambda: mlp([1, 4, 1], data=(COLUMN[:0], COLUMN[:0])),
    r"widths is \[\]; expected two or more positive integers": lambda: mlp([], data=(COLUMN, COLUMN)),
    r"widths\[0\] is 2 but the data has 1 inputs": lambda: mlp([2, 4, 1], data=(COLUMN, COLUMN)),
    "network has 2 outputs but a target has 1 numbers": lambda: mlp([1, 4, 2], data=(COLUMN, COLUMN)),
    "network has 2 outputs for 3 classes": lambda: mlp([1, 4, 2], data=(COLUMN, LABELS)),
    "labels run from -1 to 1; expected 0 to 2": lambda: mlp([1, 4, 3], data=(COLUMN, LABELS - 1), loss="cross_entropy"),
    "labels run from 0 to 2; expected 0 to 1": lambda: mlp([1, 4, 2], data=(COLUMN, LABELS), loss="cross_entropy"),
    "loss is 'cross_entropy' but the targets are no": lambda: mlp(
        [1, 4, 2], data=(COLUMN, COLUMN), loss="cross_entropy"
    ),
    "module has no parameter with requires_grad": lambda: from_module(nn.ReLU(), "sine"),
    r"lr is 0\.0; expected a learning rate above 0": lambda: run(lr=0.0),
    r"rho is -0\.1; expected a perturbation radius of 0 or more": lambda: run(rho=-0.1),
    "lr has 3 values for 1 runs; expected one, or one per run": lambda: run(lr=[0.1, 0.2, 0.3]),
    "lr is nan": lambda: run(lr=[0.1, float("nan")], x0=np.ones((2, 13))),
    "rule is 'adam'; expected one of gd, sam, usam": lambda: run(rule="adam"),
    "batch_size is 0; expected 1 to 20, the number of samples": lambda: run(batch_size=0),
    r"x0 has shape \(4,\); expected \(13,\) or \(runs, 13\)": lambda: run(x0=np.ones(4)),
    "dtype is torch.float16; expected torch.float64 or torch.float32": lambda: run(dtype=torch.float16),
    "batch_size is 1 but this loss is not a mean over samples": lambda: Run(FLAT, batch_size=1, device="cpu"),
    "k is 0; expected 1 to 2": lambda: Run(FLAT, device="cpu").measure(k=0),
    "rho is -1.0; expected": lambda: Run(FLAT, device="cpu").set(rho=-1),
    "radius": lambda: Run(FLAT, device="cpu").set(radius=0.1),
    "settings is {'lr': 0.1}": lambda: setattr(Run(FLAT, device="cpu"), "settings", {"lr": 0.1}),
    "stochastic is True but the loss of quadratic is no mean over samples; use False": lambda: (
        worst_direction_sharpness(FLAT, HERE, 0.1, stochastic=True)
    ),
    "stochastic is True but the loss of quadratic": lambda: limiting_regularizer(FLAT, HERE, "average", True),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_state_what_was_given_and_what_was_expected(message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        MESSAGES[message]()


CONVERTING = {"check_int", "check_float", "check_array", "check_radius", "check_share"}


def ignored_checks(source: str) -> Iterator[int]:
    """Yield the lines that check a number and continue with the argument, which may be no int or float."""
    for node in ast.walk(ast.parse(source)):
        checked = node.value if isinstance(node, ast.Expr) else None
        if isinstance(checked, ast.Call) and isinstance(checked.func, ast.Name) and checked.func.id in CONVERTING:
            yield node.lineno


def test_the_result_of_a_check_is_used() -> None:
    assert list(ignored_checks('check_int("n", n, "0 or more", 0)\nm = check_int("m", m, "0 or more", 0)')) == [1]
    package = Path(samviz.__file__).parent
    found = {path.name: list(ignored_checks(path.read_text(encoding="utf-8"))) for path in package.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}
