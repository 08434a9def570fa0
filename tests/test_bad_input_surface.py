"""Bad input, argument by argument: a table over the whole public surface, and a test that it is the whole of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any

import pytest
import torch
from bad_figures import FIGURES
from bad_table import ROOMS, SINE, TABLE, VALLEY
from bad_values import fault, no_hang

from samviz.dynamics import Run
from samviz.geometry import top_eigenpairs

EVERYTHING = TABLE | FIGURES
# What the table leaves out, and why.
# Of problems: tests/test_problems.py refuses what does not fit; a NaN is no bad value there, since runs diverge.
PRIMITIVES = {"loss", "gradient", "noisy_gradient", "hvp", "hessian", "slice", "outputs", "sample_losses", "picture"}
PRIMITIVES |= {"compiled", "curvatures", "eigenvalues", "to", "points", "initial"}
# Results: the library fills them, a reader reads them.
MADE = {"Alignment", "Eigenpairs", "Landscape", "NormalSpace", "Plane", "Regularizer", "Sharpness", "SpectralDensity"}
MADE |= {"Trace", "Trajectory", "FlowLimit", "LimitingFlow", "Sweep", "Check", "Claim", "Curve", "Finding", "Plot"}
MADE |= {"Verdict", "Frame"}
OTHERWISE = {
    "problems.Network": "abstract: mlp and from_module are how one is made",
    "problems.MLP": "mlp",
    "problems.Module": "from_module",
    "problems.Quadratic": "quadratic",
    "problems.Valley": "valley",
    "problems.Attached": "attach is another name of it",
    "dynamics.Diverged": "an exception: the library raises it",
    "dynamics.Sweep.of": "how the library puts a sweep together",
    "figures.figure": "plotly's own checks of plain plotly JSON",
    "figures.heights": "a step of a picture",
    "figures.save": "tests/test_export.py",
    "lab.Choice": "its options are words; `Panel` refuses a start that is none of them",
    "lab.Switch": "`Panel` refuses a start that it cannot have",
    "lab.Button": "`Panel` refuses a start that it cannot have",
}


def surface() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All public functions, classes and methods that take an argument, by name."""
    seen: set[type] = set()
    for room in ROOMS:
        module = import_module(f"samviz.{room}")
        for name in module.__all__:
            thing = getattr(module, name)
            if not callable(thing):
                continue
            if not inspect.isclass(thing):
                yield f"{room}.{name}", thing
                continue
            yield f"{room}.{name}", thing.__init__ if not is_dataclass(thing) else thing
            methods = {} if thing in seen else vars(thing)  # attach and Attached are one
            seen.add(thing)
            for method, function in methods.items():
                plain = getattr(function, "__func__", function)
                if not method.startswith("_") and inspect.isfunction(plain):
                    yield f"{room}.{name}.{method}", plain


def arguments(function: Callable[..., Any]) -> set[str]:
    """Names of a function's arguments."""
    try:
        return set(inspect.signature(function).parameters) - {"self", "cls", "args", "kwargs"}
    except ValueError:  # an exception's constructor
        return set()


def left_out(name: str) -> bool:
    """Whether the table says why it has no case of something."""
    _, *path = name.split(".")
    primitive = name.startswith("problems.") and path[-1] in PRIMITIVES
    return name in OTHERWISE or (len(path) == 1 and path[0] in MADE) or primitive


def test_the_table_is_the_whole_public_surface() -> None:
    missing = []
    for name, function in surface():
        wanted = arguments(function)
        cases = [case for key, case in EVERYTHING.items() if key.split(",")[0] == name]
        if not wanted or left_out(name):
            continue
        seen = {argument for case in cases for argument in (*case.bad, *case.exempt)}
        if name.endswith((".take", ".set")):
            seen |= {"name", "values", "changes"}  # the control's name is the caller's; the others are the cases' names
        missing += [f"{name}({argument})" for argument in sorted(wanted - seen)]
    assert not missing, f"no bad values for {', '.join(missing)}: add them to the table, or say why there are none"


def test_what_is_left_out_exists() -> None:
    names = {name for name, _ in surface()} | {f"problems.{name}" for name in ("Attached", "Problem")}
    assert set(OTHERWISE) <= names


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """What the first use on a machine compiles is no hang."""
    Run(SINE, device="cpu").prepare()
    Run(VALLEY, device="cpu").prepare()
    top_eigenpairs(SINE, SINE.initial(), batch=torch.zeros(1, 1, dtype=torch.int64))


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_right_values_are_taken(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a case could be refused for another reason than its bad value."""
    monkeypatch.chdir(tmp_path)
    case = EVERYTHING[name]
    if case.good is None:
        pytest.skip("is called rightly in tests of its own")
    with no_hang():
        answer = case.function(**case.good())
        if isinstance(answer, Iterator):
            list(answer)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EVERYTHING)
def test_a_bad_value_is_refused_in_words(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a message with the argument's name, the value, and what to do; no other exception, no result, no hang."""
    monkeypatch.chdir(tmp_path)
    case = EVERYTHING[name]
    faults = []
    for argument, values in case.bad.items():
        for value in values:
            good = case.good() if case.good is not None else {}
            wrong = fault(lambda good=good | {argument: value}: case.function(**good), case.said or argument, value)
            faults += [f"{argument} = {wrong}"] if wrong else []
    assert not faults, "\n".join(faults)


def test_a_result_is_told_from_a_refusal() -> None:
    """The judge itself: what is no refusal in words is a fault."""
    assert "taken" in fault(lambda: 1, "x", 3)
    assert "IndexError" in fault(lambda: [][1], "x", 3)
    assert "RuntimeError" in fault(lambda: torch.ones(2) @ torch.ones(3), "x", 3)

    def refuse(words: str) -> None:
        raise ValueError(words)

    assert fault(lambda: refuse("x is 3; expected 4"), "x", 3) == ""
    assert "no argument" in fault(lambda: refuse("it is 3; expected 4"), "x", 3)
    assert "no value" in fault(lambda: refuse("x is bad; expected 4"), "x", 3)
    assert "no remedy" in fault(lambda: refuse("x is 3"), "x", 3)


def test_how_many(record_testsuite_property: Callable[[str, object], None]) -> None:
    callables = len({name.split(",")[0] for name in EVERYTHING})
    parameters = sum(len(case.bad) for case in EVERYTHING.values())
    cases = sum(len(values) for case in EVERYTHING.values() for values in case.bad.values())
    told = f"{cases} bad values of {parameters} arguments of {callables} callables"
    record_testsuite_property("bad input", told)
    print(told)
    assert cases > 1500
