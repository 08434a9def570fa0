"""Bad arguments: each a ValueError or TypeError that names the argument, the value given, and what was expected."""

import numpy as np
import pytest
import torch
from torch import nn

from samviz.dynamics import Run, Settings
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
        case(
            lambda: quadratic([]),
            r"spectrum has shape \(0,\); expected finite real numbers, eigenvalues",
        ),
        case(lambda: quadratic(3.0), r"spectrum has shape \(\)"),
        case(lambda: quadratic(None), r"spectrum has shape \(\)|spectrum is None"),
        case(lambda: quadratic(np.ones((2, 3))), r"spectrum has shape \(2, 3\)"),
        case(lambda: quadratic(np.ones((1, 2, 2, 2))), r"spectrum has shape \(1, 2, 2, 2\)"),
        case(lambda: quadratic([1.0, NAN]), "spectrum contains NaN or infinity"),
        case(lambda: quadratic([1.0, np.inf]), "spectrum contains NaN or infinity"),
        case(lambda: quadratic([[1.0, 2.0], [0.0, 1.0]]), "spectrum is a matrix that is not symmetric"),
        case(lambda: quadratic([[0.0, 1e-9], [0.0, 0.0]]), "not symmetric"),
        case(lambda: quadratic(["a", "b"]), "spectrum is.*'a'"),
        case(lambda: quadratic([1 + 2j]), "spectrum is.*2j"),
        case(
            lambda: valley().limiting_flow(torch.ones(2), torch.ones(1), "both"),
            "kind is 'both'; expected 'worst'.*'average'",
        ),
    ],
)
def test_closed_forms(function, words):
    told(function, words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        case(lambda: load("moons"), "data='moons'.*'sine', 'spirals', 'digits'"),
        case(lambda: mlp([1, 4, 1], "swish"), "activation is 'swish'; expected one of tanh, relu"),
        case(lambda: mlp([1, 4, 1], None), "activation is None"),
        case(lambda: mlp([1, 4, 1], ["tanh"]), r"activation is \['tanh'\]"),
        case(lambda: mlp([1, 4, 1], loss="hinge"), "loss is 'hinge'; expected one of mse, cross_entropy"),
        case(lambda: mlp([1, 4, 1], loss=None), "loss is None"),
        case(lambda: mlp([1, 4, 1], data="moons"), "data='moons'"),
        case(lambda: mlp([1, 4, 1], data=None), "data is None"),
        case(lambda: mlp([1, 4, 1], data=(COLUMN,)), "data is.*expected"),
        case(lambda: mlp([1, 4, 1], data=(COLUMN, COLUMN, COLUMN)), "data is.*expected"),
        case(lambda: mlp([1, 4, 1], data=(1.0, 2.0)), "data.*expected"),
        case(lambda: mlp([1, 4, 1], data=([["a"]], [1.0])), "data.*numbers"),
        case(lambda: mlp([1, 4, 1], data=(COLUMN, np.ones(4))), "data has 3 inputs and 4 targets; expected the same"),
        case(lambda: mlp([1, 4, 1], data=(COLUMN[:0], COLUMN[:0])), "data has 0 inputs.*at least one"),
        case(lambda: mlp([1, 4, 1], data=(COLUMN * NAN, COLUMN)), "data contains NaN or infinity"),
        case(lambda: mlp([1, 4, 1], data=(COLUMN, COLUMN * np.inf)), "data contains NaN or infinity"),
        case(lambda: mlp([], data=(COLUMN, COLUMN)), r"widths is \[\]; expected two or more positive integers"),
        case(lambda: mlp([1], data=(COLUMN, COLUMN)), r"widths is \[1\]"),
        case(lambda: mlp([1, 0, 1], data=(COLUMN, COLUMN)), r"widths is \[1, 0, 1\]"),
        case(lambda: mlp([1, -3, 1], data=(COLUMN, COLUMN)), r"widths is \[1, -3, 1\]"),
        case(lambda: mlp([1, 2.5, 1], data=(COLUMN, COLUMN)), r"widths is \[1, 2.5, 1\]"),
        case(lambda: mlp(["a", 1], data=(COLUMN, COLUMN)), r"widths is \['a', 1\]"),
        case(lambda: mlp(24, data=(COLUMN, COLUMN)), "widths is 24"),
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
        case(lambda: from_module(lambda x: x, "sine"), "module is <function"),
        case(
            lambda: from_module(nn.Linear(1, 1, dtype=torch.complex64), "sine"),
            "module has parameters that are not real numbers: weight, bias",
        ),
        case(lambda: from_module(nn.Linear(1, 2), "sine"), "network has 2 outputs but a target has 1 numbers"),
    ],
)
def test_networks(function, words):
    told(function, words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(({"lr": bad}, rf"lr is {bad}; expected a learning rate above 0") for bad in (0.0, -0.1)),
        *(({"rho": bad}, rf"rho is {bad}; expected a perturbation radius of 0 or more") for bad in (-0.1, -1e-300)),
        *(({name: NAN}, f"{name} is nan; expected a finite number") for name in ("lr", "rho")),
        *(({name: float("inf")}, f"{name} is inf; expected a finite number") for name in ("lr", "rho")),
        *(({name: True}, f"{name} is True; expected a number, or one per run") for name in ("lr", "rho")),
        *(({name: "0.1"}, f"{name} is '0.1'; expected a number") for name in ("lr", "rho")),
        *(({name: None}, f"{name} is None; expected a number") for name in ("lr", "rho")),
        *(({name: []}, f"{name} is empty; expected a number, or one per run") for name in ("lr", "rho")),
        *(({name: [[0.1]]}, rf"{name} is \[\[0.1\]\]") for name in ("lr", "rho")),
        ({"lr": 1j}, "lr is 1j; expected a number"),
        ({"lr": [0.1, 0.2, 0.3]}, "lr has 3 values for 1 runs; expected one, or one per run"),
        ({"lr": [0.1, -0.2], "x0": np.ones((2, 5))}, r"lr is \(0.1, -0.2\); expected a learning rate above 0"),
        ({"lr": [0.1, "a"], "x0": np.ones((2, 5))}, "lr is 'a'"),
        ({"lr": [0.1, True], "x0": np.ones((2, 5))}, "lr is True"),
        ({"lr": [0.1, NAN], "x0": np.ones((2, 5))}, "lr is nan"),
        ({"rule": "adam"}, "rule is 'adam'; expected one of gd, sam, usam"),
        ({"rule": None}, "rule is None"),
        ({"rule": ["sam"]}, r"rule is \['sam'\]"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 to 20, the number of samples"),
        ({"batch_size": -1}, "batch_size is -1; expected 1 to 20"),
        ({"batch_size": 21}, "batch_size is 21; expected 1 to 20"),
        ({"batch_size": 2.0}, "batch_size is 2.0; expected an integer, or None for the full batch"),
        ({"batch_size": True}, "batch_size is True; expected an integer"),
        ({"batch_size": "all"}, "batch_size is 'all'; expected an integer"),
        ({"x0": np.ones(4)}, r"x0 has shape \(4,\); expected \(13,\) or \(runs, 13\)"),
        ({"x0": np.ones((2, 4))}, r"x0 has shape \(2, 4\)"),
        ({"x0": np.ones((1, 1, 13))}, r"x0 has shape \(1, 1, 13\)"),
        ({"x0": np.ones((0, 13))}, r"x0 has shape \(0, 13\)"),
        ({"x0": 1.0}, r"x0 has shape \(\)"),
        ({"x0": [NAN] * 13}, "x0 contains NaN or infinity"),
        ({"x0": torch.full((2, 13), float("inf"))}, "x0 contains NaN or infinity"),
        ({"x0": "start"}, "x0 is 'start'"),
        ({"x0": np.ones(13) * 1j}, r"(?s)x0 is.*1\.?j.*expected real numbers"),
        ({"seed": -1}, "seed is -1; expected an integer of 0 or more"),
        ({"seed": 1.5}, "seed is 1.5; expected an integer"),
        ({"seed": True}, "seed is True; expected an integer"),
        ({"seed": None}, "seed is None; expected an integer"),
        ({"seed": 2**70}, f"seed is {2**70}; expected"),
        ({"trail": -1}, "trail is -1; expected 0 or more iterates"),
        ({"trail": 2.5}, "trail is 2.5"),
        ({"trail": "2"}, "trail is '2'"),
        ({"dtype": torch.float16}, "dtype is torch.float16; expected torch.float64 or torch.float32"),
        ({"dtype": torch.int64}, "dtype is torch.int64"),
        ({"dtype": "float32"}, "dtype is '?float32'?; expected torch.float64"),
        ({"device": "gpu"}, "device is 'gpu'"),
        ({"device": 2.5}, "device is 2.5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_run(options, words):
    if "x0" in options and np.shape(options["x0"]) == (2, 5):  # two runs of the right size
        options = options | {"x0": np.ones((2, 13))}
    told(lambda: Run(sine, **{"device": "cpu", **options}), words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there():
    told(lambda: Run(sine, device="cuda"), "device is 'cuda'")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        case(lambda: Run("sine"), "problem is 'sine'"),
        case(lambda: Run(flat, batch_size=1, device="cpu"), "batch_size is 1 but this loss is no mean over samples"),
        case(lambda: Run(flat, device="cpu").step(-1), "n is -1; expected 0 or more steps"),
        case(lambda: Run(flat, device="cpu").step(2.5), "n is 2.5"),
        case(lambda: Run(flat, device="cpu").step("2"), "n is '2'"),
        case(lambda: Run(flat, device="cpu").measure(k=0), "k is 0; expected 1 to 2"),
        case(lambda: Run(flat, device="cpu").measure(k=-2), "k is -2"),
        case(lambda: Run(flat, device="cpu").measure(k="3"), "k is '3'"),
        case(lambda: Run(flat, device="cpu").set(radius=0.1), "radius"),
        case(lambda: setattr(Run(flat, device="cpu"), "settings", {"lr": 0.1}), "settings is {'lr': 0.1}"),
        case(lambda: Settings(lr=0), "lr is 0.0"),
        case(lambda: Settings(batch_size=1.5), "batch_size is 1.5"),
    ],
)
def test_using_a_run(function, words):
    told(function, words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        case(lambda: top_eigenpairs(flat, here, 3), "k is 3; expected 1 to 2, the number of parameters of quadratic"),
        case(lambda: top_eigenpairs(flat, here, 0), "k is 0; expected 1 to 2"),
        case(lambda: top_eigenpairs(flat, here, -1), "k is -1"),
        case(lambda: top_eigenpairs(flat, here, 1.5), "k is 1.5"),
        case(lambda: top_eigenpairs(flat, here, "1"), "k is '1'"),
        case(lambda: top_eigenpairs(flat, torch.zeros(3)), r"x has shape \(3,\); expected \(2,\) or \(runs, 2\)"),
        case(lambda: top_eigenpairs(flat, torch.tensor([NAN, 0.0])), "x contains NaN"),
        case(lambda: top_eigenpairs(flat, here, tol=-1.0), "tol is -1.0"),
        case(
            lambda: top_eigenpairs(quadratic(np.arange(600.0)), torch.zeros(600), start=torch.zeros(1, 3, 5)),
            r"start has shape \(1, 3, 5\)",
        ),
        case(lambda: hessian_trace(flat, torch.zeros(3)), r"x has shape \(3,\)"),
        case(lambda: hessian_trace(flat, here, products=5), "products is 5; expected at least 6"),
        case(lambda: hessian_trace(flat, here, products=7.5), "products is 7.5"),
        case(lambda: hessian_trace(flat, here, products=9, subspace=torch.zeros(3)), r"subspace has shape \(3,\)"),
        case(lambda: alignment(flat, torch.zeros(3)), r"x has shape \(3,\)"),
        case(lambda: alignment(flat, here, gradient=torch.ones(3)), "gradient has shape.*3"),
        case(lambda: alignment(flat, here, close=-0.1), "close is -0.1; expected"),
    ],
)
def test_measuring(function, words):
    told(function, words)


def test_a_gradient_of_a_single_run_needs_no_runs_axis():
    assert alignment(flat, here, gradient=torch.tensor([1.0, 0.0]).double()).cos_v1.item() == pytest.approx(1)


@pytest.mark.parametrize(
    "measure",
    [worst_direction_sharpness, ascent_direction_sharpness, average_direction_sharpness],
    ids=lambda m: m.__name__,
)
@pytest.mark.parametrize(
    ("x", "rho", "options", "words"),
    [
        *(
            (here, bad, {}, rf"rho is {bad!r}; expected a perturbation radius above 0")
            for bad in (0, 0.0, -0.1, NAN, float("inf"), -float("inf"), True, False, "0.1", None, 1j)
        ),
        (here, [0.1], {}, r"rho is \[0.1\]; expected a perturbation radius above 0"),
        (torch.zeros(3), 0.1, {}, r"x has shape \(3,\); expected \(2,\) or \(runs, 2\)"),
        (torch.zeros(2, 3), 0.1, {}, r"x has shape \(2, 3\)"),
        (torch.zeros(1, 2, 2), 0.1, {}, r"x has shape \(1, 2, 2\)"),
        (torch.zeros(0, 2), 0.1, {}, r"x has shape \(0, 2\)"),
        (torch.tensor([NAN, 0.0]), 0.1, {}, "x contains NaN or infinity"),
        ("start", 0.1, {}, "x is 'start'"),
        (
            here,
            0.1,
            {"stochastic": True},
            "stochastic is True but the loss of quadratic is no mean over samples; use False",
        ),
    ],
)
def test_measuring_sharpness(measure, x, rho, options, words):
    told(lambda: measure(flat, x, rho, **options), words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        *(
            case(
                lambda n=n: average_direction_sharpness(flat, here, 0.1, frames=n),
                f"frames is {n!r}; expected.*2 or more",
            )
            for n in (1, 0, -3, 2.5, True, "4")
        ),
        *(
            case(
                lambda t=t: normal_space(flat, here, rank_tol=t),
                f"rank_tol is {t!r}; expected a share of λ₁ between 0 and 1",
            )
            for t in (0, 0.0, 1, 1.0, -0.1, NAN, True, "small", None)
        ),
        case(lambda: normal_space(flat, torch.zeros(3)), r"x has shape \(3,\)"),
        case(lambda: third_derivative(flat, here, torch.zeros(2)), r"v has shape \(2,\); expected .*\(1, m, 2\)"),
        case(lambda: third_derivative(flat, here, torch.zeros(1, 1, 3)), r"v has shape \(1, 1, 3\)"),
        case(lambda: third_derivative(flat, here, torch.zeros(2, 1, 2)), r"v has shape \(2, 1, 2\)"),
        case(lambda: third_derivative(flat, torch.zeros(3), torch.zeros(1, 1, 2)), r"x has shape \(3,\)"),
        *(
            case(
                lambda k=k: limiting_regularizer(flat, here, k),
                f"kind is {k!r}; expected one of worst, ascent, average",
            )
            for k in ("best", "", None, 1)
        ),
        case(lambda: limiting_regularizer(flat, here, ["worst"]), r"kind is \['worst'\]"),
        case(lambda: limiting_regularizer(flat, here, "ascent", rank_tol=0), "rank_tol is 0; expected"),
        case(lambda: limiting_regularizer(flat, torch.zeros(3), "worst"), r"x has shape \(3,\)"),
        *(
            case(
                lambda k=k: limiting_regularizer(flat, here, k, True),
                "stochastic is True but the loss of quadratic is no mean",
            )
            for k in ("worst", "ascent", "average")
        ),
    ],
)
def test_measuring_the_manifold(function, words):
    told(function, words)
