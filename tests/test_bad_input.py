"""What messages say was expected, in full; that each names its argument and the value, bad_table.py asks of all."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import samviz
from samviz.dynamics import Run
from samviz.geometry import (
    alignment,
    ascent_direction_sharpness,
    average_direction_sharpness,
    hessian_trace,
    limiting_regularizer,
    normal_space,
    third_derivative,
    top_eigenpairs,
    worst_direction_sharpness,
)
from samviz.problems import from_module, load, mlp, quadratic, valley

NAN = float("nan")
COLUMN = np.ones((3, 1))
LABELS = np.array([0, 1, 2])
LARGE = quadratic(np.arange(600.0))
flat = quadratic([3.0, 1.0])
sine = mlp([1, 4, 1], "tanh", "sine")
here = torch.zeros(2)


def told(function, words):
    with pytest.raises((ValueError, TypeError), match=words):
        function()


def case(function, words):
    return pytest.param(function, words, id=words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        case(lambda: quadratic([]), r"spectrum has shape \(0,\); expected finite real numbers, eigenvalues"),
        case(lambda: quadratic([1.0, NAN]), "spectrum contains NaN or infinity"),
        case(lambda: quadratic([[0.0, 1e-9], [0.0, 0.0]]), "spectrum is a matrix that is not symmetric"),
        case(
            lambda: valley().limiting_flow(torch.ones(2), torch.ones(1), "both"),
            "kind is 'both'; expected 'worst'.*'average'",
        ),
        case(lambda: load("moons"), "data='moons'.*'sine', 'spirals', 'digits'"),
        case(lambda: mlp([1, 4, 1], "swish"), "activation is 'swish'; expected one of tanh, relu"),
        case(lambda: mlp([1, 4, 1], loss="hinge"), "loss is 'hinge'; expected one of mse, cross_entropy"),
        case(lambda: mlp([1, 4, 1], data=(COLUMN, np.ones(4))), "data has 3 inputs and 4 targets; expected the same"),
        case(lambda: mlp([1, 4, 1], data=(COLUMN[:0], COLUMN[:0])), "data has 0 inputs.*at least one"),
        case(lambda: mlp([], data=(COLUMN, COLUMN)), r"widths is \[\]; expected two or more positive integers"),
        case(lambda: mlp([2, 4, 1], data=(COLUMN, COLUMN)), r"widths\[0\] is 2 but the data has 1 inputs"),
        case(lambda: mlp([1, 4, 2], data=(COLUMN, COLUMN)), "network has 2 outputs but a target has 1 numbers"),
        case(lambda: mlp([1, 4, 2], data=(COLUMN, LABELS)), "network has 2 outputs for 3 classes"),
        case(
            lambda: mlp([1, 4, 3], data=(COLUMN, LABELS - 1), loss="cross_entropy"),
            "labels run from -1 to 1; expected 0 to 2 for 3 outputs",
        ),
        case(
            lambda: mlp([1, 4, 2], data=(COLUMN, LABELS), loss="cross_entropy"),
            "labels run from 0 to 2; expected 0 to 1 for 2 outputs",
        ),
        case(
            lambda: mlp([1, 4, 2], data=(COLUMN, COLUMN), loss="cross_entropy"),
            "loss is 'cross_entropy' but the targets are no integer labels",
        ),
        case(lambda: mlp([1, 4, 3], data=(COLUMN, LABELS - 1)), "labels run from -1"),
        case(lambda: from_module(nn.ReLU(), "sine"), "module has no parameter with requires_grad"),
        case(
            lambda: from_module(nn.Linear(1, 1, dtype=torch.complex64), "sine"),
            "module has parameters that are not real numbers: weight, bias",
        ),
    ],
)
def test_problems(function, words):
    told(function, words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0.0}, r"lr is 0\.0; expected a learning rate above 0"),
        ({"rho": -0.1}, r"rho is -0\.1; expected a perturbation radius of 0 or more"),
        *(({name: NAN}, f"{name} is nan; expected a finite number") for name in ("lr", "rho")),
        *(({name: True}, f"{name} is True; expected a number, or one per run") for name in ("lr", "rho")),
        *(({name: []}, f"{name} is empty; expected a number, or one per run") for name in ("lr", "rho")),
        *(({name: [[0.1]]}, rf"{name} is \[\[0.1\]\]") for name in ("lr", "rho")),
        ({"lr": [0.1, 0.2, 0.3]}, "lr has 3 values for 1 runs; expected one, or one per run"),
        ({"lr": [0.1, -0.2], "x0": np.ones((2, 13))}, r"lr is \(0.1, -0.2\); expected a learning rate above 0"),
        ({"lr": [0.1, "a"], "x0": np.ones((2, 13))}, "lr is 'a'"),
        ({"lr": [0.1, True], "x0": np.ones((2, 13))}, "lr is True"),
        ({"lr": [0.1, NAN], "x0": np.ones((2, 13))}, "lr is nan"),
        ({"rule": "adam"}, "rule is 'adam'; expected one of gd, sam, usam"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 to 20, the number of samples"),
        ({"batch_size": 2.0}, "batch_size is 2.0; expected an integer, or None for the full batch"),
        ({"x0": np.ones(4)}, r"x0 has shape \(4,\); expected \(13,\) or \(runs, 13\)"),
        ({"x0": [NAN] * 13}, "x0 contains NaN or infinity"),
        ({"x0": np.ones(13) * 1j}, r"(?s)x0 is.*1\.?j.*expected real numbers"),
        ({"seed": -1}, "seed is -1; expected an integer of 0 or more"),
        ({"trail": -1}, "trail is -1; expected 0 or more iterates"),
        ({"dtype": torch.float16}, "dtype is torch.float16; expected torch.float64 or torch.float32"),
        pytest.param(
            {"device": "cuda"},
            "device is 'cuda'",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_run(options, words):
    told(lambda: Run(sine, **{"device": "cpu", **options}), words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        case(lambda: Run(flat, batch_size=1, device="cpu"), "batch_size is 1 but this loss is no mean over samples"),
        case(lambda: Run(flat, device="cpu").step(-1), "n is -1; expected 0 or more steps"),
        case(lambda: Run(flat, device="cpu").measure(k=0), "k is 0; expected 1 to 2"),
        case(lambda: Run(flat, device="cpu").set(radius=0.1), "radius"),
        case(lambda: setattr(Run(flat, device="cpu"), "settings", {"lr": 0.1}), "settings is {'lr': 0.1}"),
    ],
)
def test_using_a_run(function, words):
    told(function, words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        case(lambda: top_eigenpairs(flat, here, 3), "k is 3; expected 1 to 2, the number of parameters of quadratic"),
        case(lambda: top_eigenpairs(flat, torch.zeros(3)), r"x has shape \(3,\); expected \(2,\) or \(runs, 2\)"),
        case(
            lambda: top_eigenpairs(LARGE, torch.zeros(600), start=torch.zeros(1, 3, 5)),
            r"start has shape \(1, 3, 5\)",
        ),
        case(lambda: hessian_trace(flat, here, products=5), "products is 5; expected at least 6"),
        case(lambda: average_direction_sharpness(flat, here, 0.1, frames=1), "frames is 1; expected.*2 or more"),
        case(lambda: normal_space(flat, here, rank_tol=1), "rank_tol is 1; expected a share of λ₁ between 0 and 1"),
        case(lambda: third_derivative(flat, here, torch.zeros(2)), r"v has shape \(2,\); expected .*\(1, m, 2\)"),
        case(
            lambda: limiting_regularizer(flat, here, "best"),
            "kind is 'best'; expected one of worst, ascent, average",
        ),
    ],
)
def test_measuring(function, words):
    told(function, words)


def test_a_gradient_of_a_single_run_needs_no_runs_axis():
    assert alignment(flat, here, gradient=torch.tensor([1.0, 0.0]).double()).cos_v1.item() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["worst", "ascent", "average"])
def test_the_three_sharpnesses(kind):
    measures = (worst_direction_sharpness, ascent_direction_sharpness, average_direction_sharpness)
    measure = next(each for each in measures if each.__name__.startswith(kind))
    told(lambda: measure(flat, here, -0.1), r"rho is -0\.1; expected a perturbation radius above 0")
    no_mean = "stochastic is True but the loss of quadratic is no mean"
    told(lambda: measure(flat, here, 0.1, stochastic=True), f"{no_mean} over samples; use False")
    told(lambda: limiting_regularizer(flat, here, kind, True), no_mean)


CONVERTING = {"check_int", "check_float", "check_array", "check_radius", "check_share"}


def thrown_away(source):
    """Lines of a source that check a number and go on with what was given, which may be no int or float."""
    for node in ast.walk(ast.parse(source)):
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in CONVERTING:
            yield node.lineno


def test_what_a_check_returns_is_what_is_used():
    assert list(thrown_away('check_int("n", n, "0 or more", 0)\nm = check_int("m", m, "0 or more", 0)')) == [1]
    package = Path(samviz.__file__).parent
    found = {path.name: list(thrown_away(path.read_text(encoding="utf-8"))) for path in package.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}
