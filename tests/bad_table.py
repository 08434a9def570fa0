"""Valid and invalid values of each argument of each public callable, and what counts as a refusal.

The values follow from the name and the annotation of an argument; the tables below contain the exceptions.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samviz.claims import Curve, Plot
from samviz.dynamics import History, Run, Settings, limiting_flow, sweep
from samviz.geometry import landscape, normal_space, plane_through, spectral_density, top_eigenpairs
from samviz.lab import Button, Choice, Lab, Panel, Slider, Switch
from samviz.optim import SAM
from samviz.probe import Probe
from samviz.problems import attach, from_module, mlp, quadratic, valley

NAN, INF = float("nan"), float("inf")
HANG = pytest.mark.timeout(120)  # a test that takes longer hangs; all of them together take about 20 s
SUBPACKAGES = ("problems", "geometry", "dynamics", "optim", "probe", "claims", "figures", "lab", "panels")
FLAT = quadratic([3.0, 1.0])
LARGE = quadratic(np.arange(1.0, 602.0))  # too large for a dense Hessian
SINE = mlp([1, 4, 1])
SINES = from_module(nn.Linear(1, 1), "sine")
VALLEY = valley()
HERE = torch.tensor([1.0, 0.5], dtype=torch.float64)
EYE = torch.eye(2, dtype=torch.float64)
PLANE = plane_through(torch.zeros(2), *torch.eye(2))
LANDSCAPE = landscape(FLAT, PLANE, resolution=3)
PAIRS = top_eigenpairs(FLAT, HERE, 2)
DENSITY = spectral_density(FLAT, HERE)
SWEEP = sweep(FLAT, lr=[0.1, 0.2], rho=[0.1, 0.2], steps=2, progress=False, device="cpu")
FLOW = limiting_flow(VALLEY, VALLEY.initial(), times=[0.0, 0.5])
MEASURED = Run(FLAT, device="cpu")
MEASURED.measure()
RECORD = History()
RECORD.append({"step": 0, "loss": 1.0})
SLIDER = {"label": "ρ", "value": 0.1, "stops": [0.0, 0.1, 1.0]}
SHARED = Lab(FLAT, lr=0.1, rho=0.1, device="cpu").run(3).share()


def draw(values: dict[str, Any]) -> Any:
    return {"data": [{"y": [0, 1]}], "layout": {}}, "It is drawn."


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def attached(**arguments: Any) -> Any:
    return attach(**(good("problems.attach") | arguments))


def loss_of_attached(**arguments: Any) -> Tensor:
    """Return the loss of an attached model, which is the first to read the data."""
    problem = attached(**arguments)
    return problem.loss(problem.initial()[None])


def sam(gradients: bool = False, **options: Any) -> SAM:
    optimizer = SAM(net().parameters(), torch.optim.SGD, lr=0.1, **options)
    for p in optimizer.param_groups[0]["params"] if gradients else ():
        p.grad = torch.ones_like(p)
    return optimizer


def sam_step(closure: Any = None, samples: Any = None, scaler: Any = None) -> Any:
    optimizer = sam()

    def backward(part: slice = slice(None)) -> Tensor:
        loss = sum(p.sum() for group in optimizer.param_groups for p in group["params"])
        loss.backward()
        return loss

    return optimizer.step(backward if closure is None else closure, samples, scaler)


def second_step(**arguments: Any) -> Any:
    optimizer = sam(gradients=True)
    optimizer.first_step()
    return optimizer.second_step(**arguments)


def export(path: Any = "page.html", **arguments: Any) -> Any:
    return Lab(FLAT, device="cpu").run(5).export(path, **arguments)


# How it is called: what a method belongs to, functions that need more than one call, and required arguments.

INSTANCES: dict[str, Callable[[], Any]] = {
    "Problem": lambda: FLAT,
    "Quadratic": lambda: FLAT,
    "MLP": lambda: SINE,
    "Module": lambda: SINES,
    "Valley": lambda: VALLEY,
    "Attached": attached,
    "NormalSpace": lambda: normal_space(FLAT, HERE),
    "Plane": lambda: PLANE,
    "SpectralDensity": lambda: DENSITY,
    "History": lambda: RECORD,
    "Run": lambda: Run(FLAT, device="cpu"),
    "Settings": lambda: Settings(lr=(0.1, 0.2)),
    "SAM": lambda: sam(gradients=True),
    "Probe": lambda: Probe(net(), nn.MSELoss(), (EYE.float(), torch.zeros(2, 1)), budget=None, every=1),
    "Slider": lambda: Slider(**SLIDER),
    "Choice": lambda: Choice("rule", "sam", {"sam": "SAM"}),
    "Switch": lambda: Switch("on"),
    "Button": lambda: Button("go"),
    "Lab": lambda: Lab(FLAT, device="cpu"),
    "Panel": lambda: Panel(draw, {"a": Slider(**SLIDER)}, description="a line"),
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "problems.attach": loss_of_attached,
    "dynamics.History.append": lambda **arguments: History().append(**arguments),
    "optim.SAM.step": sam_step,
    "optim.SAM.second_step": second_step,
    "lab.Lab.export": export,
}


def good(name: str) -> dict[str, Any]:
    """Return valid arguments of a callable: all required ones by name, and those that make the call fast."""
    drawn = {"plot": Plot("a", "b", [Curve("a", np.ones(3), np.ones(3))]), "density": DENSITY, "found": SWEEP}
    drawn |= {"history": MEASURED.history, "records": {"SGD": [RECORD, RECORD]}, "columns": ["loss"]}
    valid: dict[str, Any] = {
        **{"problem": FLAT, "x": HERE, "x0": HERE, "rho": 0.1, "lr": 0.1, "grad_norm": 1.0, "kind": "worst", "runs": 2},
        **{"resolution": 3, "radius": 1.0, "v": torch.ones(1, 1, 2).double(), "times": [0.0, 0.1], "steps": 1},
        **{"n": 1, "points": [0.0, 1]},
        **{"device": "cpu", "dtype": torch.float64, "widths": [1, 4, 1], "spectrum": [3.0, 1.0], "text": SHARED},
        **{"model": net(), "loss_fn": nn.MSELoss(), "data": (EYE.float(), torch.zeros(2, 1)), "low": -1, "high": 1},
        **{"module": nn.Linear(1, 1), "state": net().state_dict(), "params": net().parameters(), "name": "alignment"},
        **{"plane": PLANE, "positions": EYE, "origin": EYE[0] * 0, "first": EYE[0], "second": EYE[1]},
        **{"base_optimizer": torch.optim.SGD, "flow": FLOW, "limit": 2, "row": {"step": 0}, "named": {"a": LANDSCAPE}},
        "loss_name": "",
        **{"draw": draw, "controls": {"a": Slider(**SLIDER)}, "description": "a line", **SLIDER, **drawn},
    }
    sine, fast = {"problem": SINE, "x": torch.ones(13).double() / 9}, {"device": "cpu"}
    special: dict[str, dict[str, Any]] = {
        "problems.load": {"name": "sine"},
        "problems.images": {"train": 5, "test": 5},
        "problems.from_module": {"data": "sine"},
        "problems.Valley.limiting_flow": {"x0": torch.ones(2), "times": torch.ones(1)},
        "geometry.hessian_trace": {"problem": LARGE, "x": torch.ones(601).double()},
        "geometry.top_eigenpairs": sine,
        "geometry.alignment": sine,
        "geometry.batch_sharpness": sine | {"batch_size": 2},
        "geometry.pca_plane": {"positions": torch.eye(3)},
        "geometry.landscape": {"resolution": 3},
        "geometry.landscape_of": {"resolution": 3},
        "geometry.limiting_regularizer": {"kind": "ascent"},
        "dynamics.Run": {"problem": SINE, **fast},
        "dynamics.Run.load_state_dict": {"state": MEASURED.state_dict()},
        "dynamics.sweep": {"problem": SINE, "progress": False, "lr": 0.1, "rho": 0.1, **fast},
        "dynamics.limiting_flow": {"problem": VALLEY, "x0": VALLEY.initial()},
        "dynamics.tracking_error": {"problem": VALLEY, "x": FLOW.x},
        "optim.SAM": {"lr": 0.1},
        "optim.SAM.add_param_group": {"param_group": {"params": list(net().parameters())}},
        "probe.Probe": {"budget": None},
        "probe.Probe.step": {"train_loss": 1.0},
        **{f"{name}.to_csv": {"path": "log.csv"} for name in ("dynamics.History", "probe.Probe")},
        "claims.claim": {"source": "Eq. 1", "order": 1, "symbols": "ρ", "fails_with": [{"rule": "gd"}]},
        "claims.verify": {"names": ["two_cycle"], "quick": True},
        "figures.density_figure": {"top": PAIRS},
        "figures.save": {"figure": draw({})[0], "path": "line.html"},
        "lab.Lab": fast,
        "dynamics.Run.rewound": {"step": 0, "x": HERE},
        "dynamics.Settings.rate": {"step": 0},
        "lab.Lab.look_back": {"step": 0},
        "lab.Lab.preset": {"name": "gradient descent"},
        **{f"lab.{control}.take": {"name": "a", "value": value} for control, value in TAKEN.items()},
    }
    return {key: value for key, value in valid.items() if key in REQUIRED[name]} | special.get(name, {})


TAKEN = {"Slider": 0.1, "Choice": "sam", "Switch": True, "Button": 3}

# What an argument must refuse: by its name, else by its annotation. None is left out where it is the default.

NUMBER = (NAN, INF, -INF, 10**400, "0.1", None, 1j, True, (), np.ones((1, 1)))
AT_LEAST_0 = (*NUMBER, -1, -1e-300)
ABOVE_0 = (*AT_LEAST_0, 0, 0.0)
STEPS = (-1, 1.5, NAN, INF, "3", 1j, True, [2], None)
COUNT = (*STEPS, 0)
SEED = (-1, 1.5, NAN, "0", True, None, 2**62)
FLAG = ("yes", 1, 0.0, None, NAN)
NAME = ("unknown", "", None, 3, ["sam"], NAN)
OBJECT = (None, 3, "x", NAN, [1.0])
DEVICE = ("gpu", 2.5, None, "", "meta9")
DTYPE = (torch.float16, torch.int64, torch.complex64, "float32", 3)
COLUMN = np.ones((3, 1))
DATA = (None, 3, "moons", (COLUMN,), (COLUMN, np.ones(4)), (np.ones((0, 1)), np.ones((0, 1))), (None, None))
DATA += ((COLUMN * NAN, np.ones(3)), (COLUMN, np.full(3, INF)), (COLUMN * 1j, np.ones(3)), ([["a"]], [1.0]))
DATA += (([[1.0], [1.0, 2.0]], [1.0, 2.0]),)
BATCHES = (None, 3, "moons", [], iter([]), torch.ones(3, 2), [3, 4])
BATCHES += ((torch.ones(3, 2), torch.ones(4, 1)), (torch.ones(0, 2), torch.ones(0, 1)))


def points(dim: int) -> tuple[Any, ...]:
    """Return values that are not parameters of a problem of this dimension."""
    tensors = (torch.zeros(dim + 1), torch.zeros(0), torch.zeros(()), torch.zeros(1, 1, dim), torch.zeros(0, dim))
    tensors += (torch.full((dim,), NAN), torch.full((2, dim), INF), torch.zeros(dim, dtype=torch.complex64))
    return (None, "start", *tensors, torch.zeros(dim, device="meta"), np.full(dim, None), [[1.0, 2.0], [1.0]])


def tensors(shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return values that are not finite tensors of this shape."""
    return 3, "up", torch.ones(*shape, 1), torch.ones(*shape[:-1], shape[-1] + 1), torch.full(shape, NAN)


def no_loss(*_: Any) -> Any:
    return None


def rounded(outputs: Tensor, target: Tensor) -> Tensor:
    """Return a loss without a gradient."""
    return (outputs - target).round().argmax().double()


MODULE = (None, 3, "net", lambda inputs: inputs, nn.ReLU(), nn.Linear(1, 1, dtype=torch.complex64))
LOSS = (*NAME, no_loss, rounded, lambda outputs, targets: outputs.mean())
RATES = (*ABOVE_0, [], ["a"], [0.1, 0.1], [0.1, "a"], [True])
POSITIVE = ("a", None, 1j, -0.1, ["a"], [0.1, -0.1])
BY_ANNOTATION: dict[str, tuple[Any, ...]] = {
    "bool": FLAG,
    **dict.fromkeys(("int", "int | None"), COUNT),
    **dict.fromkeys(("float", "float | None", "float | tuple[float, ...]"), ABOVE_0),
    "float | ArrayLike | Tensor": RATES,
    "ArrayLike": POSITIVE,
    "str": NAME,
    "str | SampleLoss": LOSS,
    "Data": DATA,
    "Batches": BATCHES,
    "nn.Module": MODULE,
    "torch.amp.GradScaler | None": (3, "scale"),
    **dict.fromkeys(("Problem", "Plane", "Plot", "SpectralDensity", "Sweep", "LimitingFlow", "History"), OBJECT),
    **dict.fromkeys(("Frame", "Eigenpairs | None", "Prediction | None"), OBJECT),
}
INDICES = (torch.zeros(2).long(), torch.zeros(1, 0).long(), torch.zeros(2, 3).long(), torch.tensor([[20]]))
INDICES += (torch.tensor([[-1]]), torch.zeros(1, 3), torch.zeros(1, 1, dtype=torch.int64, device="meta"))
BY_NAME: dict[str, tuple[Any, ...] | Callable[[Any], tuple[Any, ...]]] = {
    **dict.fromkeys(("x", "x0", "positions", "first"), lambda x: points(np.shape(x)[-1])),
    **{"v": lambda v: (None, *tensors((1, 1, 2))), "seed": SEED, "device": DEVICE, "dtype": DTYPE},
    **{"n": STEPS, "steps": STEPS, "trail": STEPS, "batch": (3, "all", *INDICES)},
    **{"rho": AT_LEAST_0, "rank_tol": (*ABOVE_0, 1), "kind": (*NAME, "Worst"), "rule": (*NAME, "SAM")},
    "center": (None, 3, "mid", (0.0,), (0.0, 0.0, 0.0), (0.0, NAN), (0.0, "a"), (INF, 0.0), (0.0, 1j)),
    **{
        "momentum": (*AT_LEAST_0, 1.0),
        "weight_decay": AT_LEAST_0,
        "lr_decay": AT_LEAST_0,
        "loss_name": ("unknown", None, 3, ["mse"], NAN),
    },
    "names": (3, ["layer9.*"], "bias9", [], [3]),
    "loss_fn": (None, 3, "mse", nn.MSELoss(reduction="none"), nn.MSELoss(reduction="sum")),
    "measures": (None, 3, "colour", ["eigenvalues", "colour"], [3]),
    "budget": (0, -0.1, 1.5, NAN, "0.1", True, 1j),
    "named": (None, 3, {}, {"bowl": 3}, {str(i): LANDSCAPE for i in range(4)}),
    "text": (None, 3, 1.5, b"samviz1:", ["text"], "", "unknown", "samviz1:1"),
}
MORE: dict[str, tuple[Any, ...]] = {  # in addition
    "problems.mlp.activation": ("Tanh",),
    "problems.from_module.module": (nn.Linear(1, 2), nn.Linear(2, 1), nn.Linear),
    "problems.images.train": (1797,),
    "problems.images.test": (1797,),
    "geometry.top_eigenpairs.k": (14, 10**30),
    "geometry.hessian_trace.products": (5,),
    "geometry.average_direction_sharpness.frames": (1,),
    "geometry.batch_sharpness.batches": (1,),
    "geometry.batch_sharpness.batch_size": (21,),
    "geometry.spectral_density.steps": (0, 1),
    **{f"geometry.{name}.resolution": (1,) for name in ("landscape", "slices", "landscape_of")},
    **{f"geometry.{name}_direction_sharpness.rho": (0.0, 1e308) for name in ("worst", "ascent", "average")},
    **dict.fromkeys(("problems.Module.module_at.x", "geometry.hessian_plane.x"), (torch.zeros(2, 2),)),
    "geometry.random_plane.x": (torch.zeros(2, 2),),
    "geometry.plane_through.first": (torch.zeros(2),),
    "dynamics.Run.batch_size": (21, 10**30),
    "dynamics.gradient_flow_limit.tol": (1.0,),
    "dynamics.History.thinned.limit": (1,),
    "dynamics.phase_boundary.history": (History(), RECORD),
    "lab.Lab.export.frames": (1,),
    "probe.Probe.rho": (0.0,),
}
SPECTRA = (None, 3.0, "ab", [], [1.0, NAN], [1j], [["a"]], np.ones((2, 3)), [[1.0, 2.0], [0.0, 1.0]], np.full(2, None))
SPECTRA += ([[1.0], [1.0, 2.0]], torch.ones(2, device="meta"), np.ones((1, 2, 2, 2)))
PATHS = (None, 3, "path", torch.zeros(3), torch.zeros(1, 3, 3), torch.zeros(2, 3), torch.full((3, 3), NAN))
PATHS += (torch.eye(3).cfloat(), torch.zeros(0, 3), torch.eye(3)[:, :1], torch.eye(3, device="meta"))
TIMES = (None, "late", [], [-1.0], [0.2, 0.1], [NAN], [INF], [[0.1]], [1j], ["a"])
STATE = (None, 3, "net", {}, {"weight": torch.ones(1, 2)}, {"weight": 3, "bias": 4}, nn.Linear(3, 1).state_dict())
COMPLEX = nn.Parameter(torch.ones(2, dtype=torch.complex64))
INSTEAD: dict[str, tuple[Any, ...]] = {
    "problems.quadratic.spectrum": SPECTRA,
    "problems.mlp.widths": (None, 3, [], [1], [1, 0, 1], [1, 2.5, 1], [1, NAN, 1], [2, 4, 1], [1, True, 1], [1, 4, 2]),
    "problems.Attached.vector.state": STATE,
    "problems.Valley.limiting_flow.x0": (None, "start", torch.zeros(3), torch.zeros(1, 4), torch.full((2,), NAN)),
    "problems.Valley.limiting_flow.times": (None, "late", torch.ones(1, 1), torch.tensor([NAN]), torch.tensor([INF])),
    "geometry.top_eigenpairs.start": (3, "warm", torch.zeros(1, 3, 5), torch.full((1, 2, 13), NAN)),
    "geometry.hessian_trace.subspace": (3, "top", torch.zeros(3), torch.zeros(1, 2, 5), torch.full((1, 2, 601), NAN)),
    "geometry.hessian_trace.known": (3, "top", torch.zeros(3), torch.zeros(2, 2)),
    "geometry.batch_sharpness.direction": (3, "up", torch.ones(13), torch.ones(2, 13), torch.full((1, 13), NAN)),
    "geometry.alignment.gradient": (3, "up", torch.ones(3), torch.ones(2, 13), torch.full((13,), NAN)),
    "geometry.alignment.eigenpairs": (3, "top", PAIRS.values),
    "geometry.alignment.close": (*AT_LEAST_0, 1.5),
    "geometry.hessian_plane.vectors": (3, "top", torch.ones(2), torch.ones(1, 2), torch.ones(2, 3), EYE * NAN),
    "geometry.pca_plane.positions": PATHS,
    "geometry.plane_through.origin": (None, "start", *points(2)[4:]),  # its length may be that of the others
    "geometry.plane_through.second": (*points(2)[1:], torch.tensor([2.0, 0.0])),
    "geometry.projected.loss": (3, "low", torch.ones(3), torch.ones(2, 2)),
    "geometry.Plane.project.positions": (None, "start", *points(2)[7:]),
    "geometry.landscape.plane": (None, 3, "hessian", [1.0], plane_through(torch.zeros(3), torch.ones(3))),
    "geometry.slices.plane": (None, 3, "hessian", torch.zeros(2)),
    "geometry.landscape_of.directions": (None, 3, "pca", {}, [], [{}], [3], [net().state_dict()] * 3, "gone.pt"),
    "geometry.landscape_of.checkpoints": (None, 3, "gone.pt", [{}], [3], [nn.Linear(3, 1).state_dict()], ["gone.pt"]),
    "geometry.SpectralDensity.at.points": (None, "mid", 1.0, [NAN], [1j], np.ones((2, 2, 2)), np.ones((3, 2)), []),
    "geometry.SpectralDensity.trace.f": (None, 3, "square", no_loss, lambda nodes: nodes.sum()),
    "dynamics.Run.rho": (*AT_LEAST_0, [0.1, 0.2], ["a"]),
    "dynamics.Run.seed": (*SEED, [0, 1], ["a"], []),
    **dict.fromkeys(("dynamics.Run.rewound.step", "dynamics.Settings.rate.step"), STEPS),
    "dynamics.Run.rewound.before": points(2)[1:],
    "dynamics.Run.why_diverged.r": (1, -2, 1.5, None, "0"),
    "dynamics.Run.load_state_dict.state": (None, 3, "state", {}, {"x": HERE}, Run(SINE, device="cpu").state_dict()),
    **{f"dynamics.Settings.{name}": (1.5, NAN, "3", True, [2]) for name in ("batch_size", "micro_batch")},  # see `fit`
    "dynamics.Settings.fit.runs": (1, 3),
    "dynamics.sweep.rule": ("unknown", "", None, 3, NAN, [], ["sam", "sam"], ["SAM"]),
    "dynamics.sweep.rho": (*AT_LEAST_0, [], [0.1, 0.1]),
    "dynamics.sweep.batch_size": (-1, 0, 1.5, NAN, "3", 1j, True, 21, [], [1, 1], [1, 21]),
    "dynamics.sweep.seeds": (-1, 0, 1.5, "0", None, [], [0, 0], [-1], [1.5], [2**70]),
    "dynamics.sweep.test": ((np.ones((3, 1)), np.zeros(3, int)),),
    "dynamics.sweep.path": (3, 1.5, b"here"),
    "dynamics.sweep.executor": (3, "threads"),
    "dynamics.edge_of_stability.lr": (*POSITIVE, 0.0, INF, [[0.1], [0.1, 0.2]]),
    "dynamics.edge_of_stability.rho": (*POSITIVE, INF),
    "dynamics.limiting_flow.kind": (*NAME, "ascent"),
    "dynamics.limiting_flow.times": TIMES,
    "dynamics.History.append.row": (*OBJECT, {}, {"loss": 1.0}),
    "dynamics.tracking_error.x": (None, 3, "x", torch.zeros(4), torch.zeros(3, 1, 4), torch.full((2, 1, 4), NAN)),
    "optim.SAM.params": (None, 3, [], torch.ones(2), [torch.ones(2, dtype=torch.int64)], [3], [COMPLEX]),
    "optim.SAM.base_optimizer": (None, 3, "SGD", torch.optim.LBFGS, lambda *_, **__: None),
    "optim.SAM.add_param_group.param_group": (None, 3, {}, [nn.Parameter(torch.ones(2))]),
    "optim.SAM.step.closure": (3, "loss", no_loss, lambda: torch.ones(2), lambda: "low"),
    **dict.fromkeys(("dynamics.History.to_csv.path", "probe.Probe.to_csv.path"), (None, 3, "/no/such/folder/a.csv")),
    "probe.Probe.lab.train": (3, "train"),
    "probe.Probe.lab.optimizer": (3, "SGD", object()),
    "claims.claim.source": (None, 3),
    "claims.claim.symbols": (None, 3),
    "claims.claim.fails_with": (None, 3, "gd"),
    "claims.verify.names": (None, 3, "two_cycl", "two_cycle", ["two_cycl"], [3]),
    "figures.density_figure.run": (1, -1, 1.5, "0", None, True),
    "figures.heatmap_figure.rule": (1, -1, "sam", None, 0.0),
    "figures.heatmap_figure.batch_size": (1, -1, "all", None, 0.0),
    "figures.seeds_figure.records": (
        None,
        3,
        {},
        [RECORD],
        {"SGD": [3, 3]},
        {"SGD": [RECORD]},
        {"SGD": [History()] * 2},
    ),
    "figures.seeds_figure.columns": (None, 3, "loss", [], ["colour"]),
    "figures.save.figure": (None, 3, "line", {"layout": {}}),
    "figures.save.path": (None, 3, "line.pdf", "line", ".html", "nowhere/line.html"),
    "panels.slice_panel.named": (None, 3, "bowl", {}, {"bowl": 3}),
    "lab.decades.low": (1, 2, 0.5, "0", None),
    "lab.decades.high": (-1, 0.5, "0", None),
    "lab.Slider.stops": (None, 3, "ab", [], [1.0], [1.0, 0.5], [0.0, 0.0], [0.0, NAN], [0.0, INF], ["a", "b"]),
    "lab.Slider.low": (NAN, INF, "0", 2.0, True),
    "lab.Slider.high": (NAN, INF, "0", -1.0, True),
    "lab.Slider.take.value": (*NUMBER, -0.1, 1.1, 1e300),
    "lab.Choice.take.value": (*NAME[:-2], "SAM"),
    "lab.Switch.take.value": FLAG,
    "lab.Button.take.value": STEPS,
    "lab.Panel.draw": (None, 3, "mse_", [1.0]),
    "lab.Panel.controls": (None, 3, {"a": 3}),
    "lab.Panel.drag": (3, [0.0, 0.0]),
    **{f"lab.Lab.{name}": (1, 0, -1, 1.5, "2") for name in ("batch_size", "micro_batch")},
    "lab.Lab.look_back.step": STEPS[:-1],
    "lab.Lab.export.path": (None, 3, 1.5, "page.png", "no/such/folder/page.html"),
    "lab.quiz.answers": (None, 3, ["b"], "?" * 100),
}

# What is not called, or takes any value, and why.

PRIMITIVES = {"loss", "gradient", "noisy_gradient", "hvp", "hessian", "slice", "outputs", "sample_losses", "picture"}
PRIMITIVES |= {"compiled", "curvatures", "eigenvalues"}  # of problems: a NaN is valid there, since runs diverge
CONSTRUCTED = {"dynamics.Settings", "lab.Slider"}  # dataclasses that users make; all others are results to read
LEFT_OUT = {
    **dict.fromkeys(("problems.Network", "problems.MLP", "problems.Module"), "mlp and from_module make them"),
    **dict.fromkeys(("problems.Quadratic", "problems.Valley", "problems.Attached"), "functions of that name make them"),
    "claims.Claim.measure": "`verify` calls it",
    "dynamics.Diverged": "an exception that the library raises",
    "dynamics.Rule.noise_count": "the engines call it",
    "dynamics.rule": "its keyword arguments are the fields of a rule, which Python checks",
    "dynamics.Sweep.of": "how the library puts a sweep together",
    "dynamics.Run.set": "has the arguments of Settings",
    "problems.Network.with_test": "checks its samples as `sweep` does, in test_sweep.py",
    "figures.figure": "plotly checks plain plotly JSON",
    "figures.heights": "a step of a figure",
    "lab.Panel.set": "has the names of the panel's controls, in test_bad_controls.py",
}
ANY_VALUE = {
    "problems.images.root": "the folder of CIFAR-10, which its test reads",
    "problems.Problem.points.name": "a word for the message",
    **{f"problems.{name}.initial.seed": "it has one start" for name in ("Attached", "Module", "Valley")},
    "optim.SAM.options": "the base optimizer checks its own",
    "probe.Probe.step.logged": "any number of the user's own",
    **dict.fromkeys(("lab.Slider.label", "lab.Slider.help", "lab.Panel.description"), "words for the reader"),
    "lab.Slider.book": "values that the panel checks",
    "lab.Slider.kind": "the name of a function in graph.js",
    "lab.Slider.value": "is checked by the panel that declares it, and by `take`",
    **{f"lab.{name}.take.name": "the name of the control, for the message" for name in TAKEN},
    **{f"figures.probe_figure.{name}": "the probe's" for name in ("densities", "rho", "budget", "changes")},
}
DRAWN_BY_PANELS = {f"figures.{name}_figure" for name in ("lab",)}
SAID = {"lab.quiz.name": "quiz", "lab.Lab.preset.name": "preset"} | {f"lab.{name}.take.value": "a" for name in TAKEN}


def surface() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield all public functions, classes and methods that take an argument, by name."""
    classes: set[type] = set()
    for subpackage in SUBPACKAGES:
        module = import_module(f"samviz.{subpackage}")
        for name in module.__all__:
            public = getattr(module, name)
            if not inspect.isclass(public):
                if callable(public):
                    yield f"{subpackage}.{name}", public
                continue
            if f"{subpackage}.{name}" in CONSTRUCTED or not (is_dataclass(public) or issubclass(public, tuple)):
                yield f"{subpackage}.{name}", public
            methods = {} if public in classes else vars(public)
            classes.add(public)
            for method, function in methods.items():
                plain = getattr(function, "__func__", function)
                if not method.startswith("_") and inspect.isfunction(plain):
                    yield f"{subpackage}.{name}.{method}", function if plain is function else getattr(public, method)


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return a function's parameters by name."""
    found = inspect.signature(function).parameters
    return {name: found[name] for name in found if name not in ("self", "args", "kwargs")}


def tested() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the callables that the tests call."""
    for name, function in surface():
        primitive = name.startswith("problems.") and name.rpartition(".")[2] in PRIMITIVES
        if name not in LEFT_OUT and not primitive and parameters(function):
            yield name, function


CALLABLES = dict(tested())
REQUIRED = {
    name: {each.name for each in parameters(function).values() if each.default is each.empty}
    for name, function in CALLABLES.items()
}


def call(name: str, /, **arguments: Any) -> Any:
    """Call a public function, class or method with valid arguments, except for these."""
    function = FUNCTIONS.get(name, CALLABLES[name])
    _, *path = name.split(".")
    if name not in FUNCTIONS and len(path) == 2 and inspect.isfunction(function):
        function = getattr(INSTANCES[path[0]](), path[1])
    return function(**(good(name) | arguments))


def bad_arguments(name: str) -> Iterator[tuple[str, tuple[Any, ...] | None]]:
    """Yield each argument of a callable with the values that it must refuse; None for one without a rule."""
    for argument, parameter in parameters(CALLABLES[name]).items():
        if f"{name}.{argument}" in ANY_VALUE:
            continue
        values: Any = INSTEAD.get(f"{name}.{argument}")
        if values is None:
            values = BY_NAME.get(argument, BY_ANNOTATION.get(str(parameter.annotation)))
            if callable(values):
                values = values(good(name).get(argument, SINE.initial()))
            if values is not None and parameter.default is None:
                values = tuple(value for value in values if value is not None)
        yield argument, None if values is None else (*values, *MORE.get(f"{name}.{argument}", ()))


# What counts as a refusal.

REMEDY = re.compile(
    r"\b(expected|use|give|choose|pass|take|drop|make|run|set|attach|measure|call|log|pip install|freeze|define)\b"
)


def fault(call: Callable[[], Any], argument: str, value: Any) -> str:
    """Return what is wrong with the answer to a bad value; empty for a message with argument and remedy."""
    try:
        answer = call()
        if isinstance(answer, Iterator):
            answer = list(answer)
    except (ValueError, TypeError, FileNotFoundError) as error:
        message = str(error)
        lacks = [] if re.search(rf"\b{re.escape(argument)}\b", message) else ["argument"]
        lacks += [] if REMEDY.search(message) else ["remedy"]
        return f"{value!r:.60}: no {', no '.join(lacks)} in {message!r:.300}" if lacks else ""
    except BaseException as error:  # also that of pytest's time limit
        return f"{value!r:.60}: {type(error).__name__}: {error!s:.200}"
    return f"{value!r:.60}: taken, {answer!r:.100}"
