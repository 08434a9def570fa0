"""The public surface, argument by argument: how each thing is called rightly, and which values it must refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import bad_values as bad
import numpy as np
import torch
from torch import Tensor, nn

from samviz.claims import Curve
from samviz.dynamics import History, Run, Settings, gradient_flow_limit, limiting_flow, sweep
from samviz.geometry import landscape, plane_through, spectral_density, top_eigenpairs
from samviz.optim import SAM
from samviz.probe import Probe
from samviz.problems import attach, from_module, mlp, quadratic, valley

ROOMS = ("problems", "geometry", "dynamics", "optim", "probe", "claims", "figures", "lab", "panels")

FLAT = quadratic([3.0, 1.0])
LARGE = quadratic(np.arange(1.0, 602.0))  # above 500 parameters other methods are used
SINE = mlp([1, 4, 1])
SINES = from_module(nn.Linear(1, 1), "sine")
VALLEY = valley()
HERE = torch.tensor([1.0, 0.5], dtype=torch.float64)
WIDE = torch.ones(601, dtype=torch.float64)
PLANE = plane_through(torch.zeros(2), *torch.eye(2))
SEEN = landscape(FLAT, PLANE, resolution=3)
PAIRS = top_eigenpairs(FLAT, HERE, 2)
DENSITY = spectral_density(FLAT, HERE)
SWEEP = sweep(FLAT, lr=[0.1, 0.2], rho=[0.1, 0.2], steps=2, progress=False, device="cpu")
FLOW = limiting_flow(VALLEY, VALLEY.initial(), times=[0.0, 0.5])
RECORD = History()
RECORD.append({"step": 0, "loss": 1.0})
CURVE = Curve("a", np.ones(3), np.ones(3))
PROBLEM = bad.OBJECT
X2, X4, X601 = bad.points(2), bad.points(4), bad.points(601)
BATCH = (
    3,
    "all",
    torch.zeros(2, dtype=torch.int64),
    torch.zeros(1, 0, dtype=torch.int64),
    torch.zeros(2, 3, dtype=torch.int64),
    torch.zeros(1, 3),
    torch.tensor([[20]]),
    torch.tensor([[-1]]),
    torch.zeros(1, 1, dtype=torch.int64, device="meta"),
)
SHORT = {"x": HERE, "problem": FLAT}


@dataclass
class Case:
    """A callable, how it is called rightly, and the values that each argument must refuse."""

    function: Callable[..., Any]
    good: Callable[[], dict[str, Any]]
    bad: Mapping[str, tuple[Any, ...]]
    exempt: Mapping[str, str] = field(default_factory=dict)  # argument: why nothing is bad there
    said: str = ""  # the name that the message uses, where the caller gives it


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def attached() -> Any:
    return attach(net(), nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))


def looked_at(*given: Any, **named: Any) -> Tensor:
    """The loss of an attached model: its data are first passed over there."""
    problem = attach(*given, **named)
    return problem.loss(problem.initial()[None])


def sam() -> SAM:
    return SAM(net().parameters(), torch.optim.SGD, lr=0.1)


def stepped(closure: Any = None, samples: Any = None, scaler: Any = None, m: Any = None) -> Any:
    optimizer = SAM(net().parameters(), torch.optim.SGD, lr=0.1, m=m)

    def backward(part: slice = slice(None)) -> Tensor:
        loss = sum(p.sum() for group in optimizer.param_groups for p in group["params"])
        loss.backward()
        return loss

    return optimizer.step(backward if closure is None else closure, samples, scaler)


def with_gradients() -> SAM:
    optimizer = sam()
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    return optimizer


def second(scaler: Any = None, zero_grad: Any = False) -> Any:
    optimizer = with_gradients()
    optimizer.first_step()
    return optimizer.second_step(scaler, zero_grad)


def probe(**given: Any) -> Probe:
    return Probe(net(), nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)), **({"budget": None} | given))


MODEL = {
    "model": (None, 3, "net", lambda x: x, bad.Odd(), nn.Linear(1, 1, dtype=torch.complex64)),
    "loss_fn": (None, 3, "mse", nn.MSELoss(reduction="none"), nn.MSELoss(reduction="sum")),
    "data": bad.BATCHES,
    "names": (3, ["layer9.*"], "bias9", [], [3]),
    "samples": bad.MAYBE_COUNT,
    "batch_size": bad.COUNT,
}
RHO = (*bad.ABOVE_0, [0.1])
NORMAL = {"problem": PROBLEM, "x": X2}


def trained(**more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"model": net(), "loss_fn": nn.MSELoss(), "data": (torch.eye(2), torch.zeros(2, 1))} | more


def fixed(**good: Any) -> Callable[[], dict[str, Any]]:
    return lambda: dict(good)


def run(method: str, **start: Any) -> Callable[..., Any]:
    return lambda **given: getattr(Run(FLAT, device="cpu", **start), method)(**given)


TABLE: dict[str, Case] = {
    # what is minimized
    "problems.quadratic": Case(
        quadratic,
        fixed(spectrum=[3.0, 1.0]),
        {
            "spectrum": (
                None,
                3.0,
                "ab",
                [],
                [1.0, bad.NAN],
                [1j],
                [["a"]],
                np.ones((2, 3)),
                [[1.0, 2.0], [0.0, 1.0]],
                [[1.0], [1.0, 2.0]],
                np.full(2, None),
                torch.ones(2, device="meta"),
                np.ones((1, 2, 2, 2)),
            )
        },
    ),
    "problems.valley": Case(valley, dict, {"mean": bad.FLAG}),
    "problems.mlp": Case(
        mlp,
        fixed(widths=[1, 4, 1]),
        {
            "widths": (
                None,
                3,
                [],
                [1],
                [1, 0, 1],
                [1, -3, 1],
                [1, 2.5, 1],
                [1, bad.NAN, 1],
                [2, 4, 1],
                [1, True, 1],
                [1, 4, 2],
                [[1, 4], 1],
            ),
            "activation": (*bad.NAME, "Tanh"),
            "data": bad.DATA,
            "loss": (*bad.NAME, bad.no_loss, bad.rounded, lambda outputs, targets: outputs.mean()),
        },
    ),
    "problems.from_module": Case(
        from_module,
        fixed(module=nn.Linear(1, 1), data="sine"),
        {
            "module": (*bad.MODULE, nn.Linear(1, 2), nn.Linear(2, 1)),
            "data": bad.DATA,
            "loss": (*bad.NAME, bad.no_loss, bad.rounded, lambda outputs, targets: outputs.mean()),
            "training": bad.FLAG,
        },
    ),
    "problems.attach": Case(looked_at, trained(), MODEL | {"training": bad.FLAG, "recompute": bad.FLAG}),
    "problems.load": Case(import_module("samviz.problems").load, fixed(name="sine"), {"name": bad.NAME}),
    "problems.images": Case(
        import_module("samviz.problems").images,
        fixed(train=5, test=5),
        {
            "name": bad.NAME,
            "train": (*bad.COUNT, 1797),
            "test": (*bad.MAYBE_COUNT, 1797),
            "seed": bad.SEED,
            "device": ("gpu", 2.5, None, "meta9", ""),
        },
        {"root": "the folder of CIFAR-10, which the test of it reads"},
    ),
    "problems.Problem.points": Case(FLAT.points, fixed(x=HERE), {"x": X2}, {"name": "a word for the message"}),
    "problems.Problem.initial": Case(SINE.initial, dict, {"seed": bad.SEED}),
    "problems.Quadratic.initial": Case(FLAT.initial, dict, {"seed": bad.SEED}),
    "problems.MLP.initial": Case(SINE.initial, dict, {"seed": bad.SEED}),
    "problems.Problem.to": Case(
        FLAT.to,
        fixed(device="cpu", dtype=torch.float64),
        {
            "device": ("gpu", 2.5, None, ""),
            "dtype": (torch.float16, torch.int64, torch.complex64, "float32", 3),
        },
    ),
    "problems.Module.module_at": Case(SINES.module_at, fixed(x=torch.zeros(2)), {"x": (*X2, torch.zeros(2, 2))}),
    "problems.Valley.limiting_flow": Case(
        VALLEY.limiting_flow,
        fixed(x0=torch.ones(2), times=torch.ones(1)),
        {
            "x0": (
                None,
                "start",
                torch.zeros(3),
                torch.zeros(1, 4),
                torch.full((2,), bad.NAN),
                torch.zeros(2).cfloat(),
            ),
            "times": (None, "late", torch.ones(1, 1), torch.tensor([bad.NAN]), torch.tensor([bad.INF])),
            "kind": (*bad.NAME, "ascent"),
        },
    ),
    "problems.Attached.vector": Case(
        lambda **given: attached().vector(**given),
        lambda: {"state": net().state_dict()},
        {
            "state": (
                None,
                3,
                "net",
                {},
                {"weight": torch.ones(1, 2)},
                nn.Linear(3, 1).state_dict(),
                {"weight": 3, "bias": 4},
            )
        },
    ),
    # what is measured
    "geometry.top_eigenpairs": Case(
        top_eigenpairs,
        lambda: {"problem": SINE, "x": torch.zeros(13)},
        {
            "problem": PROBLEM,
            "x": bad.points(13),
            "k": (*bad.COUNT, 14, 10**30),
            "batch": BATCH,
            "start": (3, "warm", torch.zeros(1, 3, 5), torch.full((1, 2, 13), bad.NAN)),
            "tol": tuple(v for v in bad.ABOVE_0 if v is not None),
            "max_products": bad.COUNT,
            "seed": bad.SEED,
        },
    ),
    "geometry.hessian_trace": Case(
        import_module("samviz.geometry").hessian_trace,
        lambda: {"problem": LARGE, "x": WIDE},
        {
            "problem": PROBLEM,
            "x": X601,
            "products": (*bad.MAYBE_COUNT, 5),
            "subspace": (3, "top", torch.zeros(3), torch.zeros(1, 2, 5), torch.full((1, 2, 601), bad.NAN)),
            "known": (3, "top", torch.zeros(3), torch.zeros(2, 2)),
            "seed": bad.SEED,
        },
    ),
    "geometry.alignment": Case(
        import_module("samviz.geometry").alignment,
        lambda: {"problem": SINE, "x": torch.ones(13).double() / 9},
        {
            "problem": PROBLEM,
            "x": bad.points(13),
            "batch": BATCH,
            "gradient": (3, "up", torch.ones(3), torch.ones(2, 13), torch.full((13,), bad.NAN)),
            "eigenpairs": (3, "top", PAIRS.values),
            "close": (*bad.AT_LEAST_0, 1.5),
        },
    ),
    **{
        f"geometry.{name}_direction_sharpness": Case(
            getattr(import_module("samviz.geometry"), f"{name}_direction_sharpness"),
            fixed(problem=FLAT, x=HERE, rho=0.1),
            NORMAL | {"rho": RHO, "stochastic": bad.FLAG} | more,
        )
        for name, more in (
            ("worst", {}),
            ("ascent", {}),
            ("average", {"seed": bad.SEED, "frames": (*bad.COUNT, 1)}),
        )
    },
    "geometry.hessian_plane": Case(
        import_module("samviz.geometry").hessian_plane,
        fixed(problem=FLAT, x=HERE),
        {
            "problem": PROBLEM,
            "x": (*X2, torch.zeros(2, 2)),
            "vectors": (3, "top", torch.ones(2), torch.ones(1, 2), torch.ones(2, 3), torch.full((2, 2), bad.NAN)),
        },
    ),
    "geometry.random_plane": Case(
        import_module("samviz.geometry").random_plane,
        fixed(problem=FLAT, x=HERE),
        {"problem": PROBLEM, "x": (*X2, torch.zeros(2, 2)), "seed": bad.SEED, "normalization": (*bad.NAME, "Filter")},
    ),
    "geometry.pca_plane": Case(
        import_module("samviz.geometry").pca_plane,
        lambda: {"positions": torch.eye(3)},
        {
            "positions": (
                None,
                3,
                "path",
                torch.zeros(3),
                torch.zeros(1, 3, 3),
                torch.zeros(2, 3),
                torch.zeros(5, 3),
                torch.full((3, 3), bad.NAN),
                torch.eye(3).cfloat(),
                torch.zeros(0, 3),
                torch.eye(3, device="meta"),
                torch.eye(3)[:, :1],
            )
        },
    ),
    "geometry.plane_through": Case(
        plane_through,
        lambda: {"origin": torch.zeros(2), "first": torch.eye(2)[0], "second": torch.eye(2)[1]},
        {
            "origin": (*X2[:2], *X2[4:], torch.tensor([1.0, 0.0])),  # a length of its own is the others' to meet
            "first": (*X2, torch.zeros(2)),
            "second": (*(v for v in X2 if v is not None), torch.tensor([2.0, 0.0])),
        },
    ),
    "geometry.projected": Case(
        import_module("samviz.geometry").projected,
        lambda: {"problem": FLAT, "plane": PLANE, "positions": torch.eye(2)},
        {
            "problem": PROBLEM,
            "plane": bad.OBJECT,
            "positions": X2,
            "loss": (3, "low", torch.ones(3), torch.ones(2, 2)),
        },
    ),
    "geometry.Plane.project": Case(
        PLANE.project,
        lambda: {"positions": torch.eye(2)},
        {"positions": tuple(v for v in X2 if isinstance(v, list) or np.shape(v) != (0, 2))},
    ),
    "geometry.landscape": Case(
        landscape,
        fixed(problem=FLAT, plane=PLANE, resolution=3),
        {
            "problem": PROBLEM,
            "plane": (None, 3, "hessian", [1.0], plane_through(torch.zeros(3), torch.ones(3))),
            "radius": RHO,
            "resolution": (*bad.COUNT, 1),
            "center": (None, 3, "mid", (0.0,), (0.0, 0.0, 0.0), (0.0, bad.NAN), (0.0, "a"), (bad.INF, 0.0), (0.0, 1j)),
        },
    ),
    "geometry.slices": Case(
        import_module("samviz.geometry").slices,
        fixed(problem=FLAT, plane=PLANE, resolution=3, radius=1.0),
        {
            "problem": PROBLEM,
            "plane": (None, 3, "hessian", torch.zeros(2)),
            "radius": RHO,
            "resolution": (*bad.COUNT, 1),
            "center": (None, 3, "mid", (0.0,), (0.0, bad.NAN)),
        },
    ),
    "geometry.landscape_of": Case(
        import_module("samviz.geometry").landscape_of,
        trained(resolution=3),
        MODEL
        | {
            "directions": (None, 3, "Hessian", "pca", {}, [], [{}], [3], [net().state_dict()] * 3, "gone.pt"),
            "checkpoints": (None, 3, "gone.pt", [{}], [3], [nn.Linear(3, 1).state_dict()], ["gone.pt"]),
            "line": bad.FLAG,
            "radius": tuple(v for v in RHO if v is not None),
            "resolution": (*bad.COUNT, 1),
            "normalization": bad.NAME,
            "recompute": bad.FLAG,
            "seed": bad.SEED,
        },
    ),
    "geometry.spectral_density": Case(
        spectral_density,
        fixed(problem=FLAT, x=HERE),
        NORMAL
        | {
            "probes": bad.COUNT,
            "steps": (*bad.COUNT, 1),
            "width": tuple(v for v in RHO if v is not None),
            "seed": bad.SEED,
        },
    ),
    "geometry.SpectralDensity.at": Case(
        DENSITY.at,
        fixed(points=[0.0, 1.0]),
        {
            "points": (None, "mid", 1.0, [bad.NAN], [1j], np.ones((2, 2, 2)), np.ones((3, 2)), []),
            "width": tuple(v for v in RHO if v is not None),
        },
    ),
    "geometry.SpectralDensity.trace": Case(
        DENSITY.trace, dict, {"f": (None, 3, "square", bad.no_loss, lambda nodes: nodes.sum())}
    ),
    "geometry.normal_space": Case(
        import_module("samviz.geometry").normal_space,
        fixed(problem=FLAT, x=HERE),
        NORMAL | {"rank_tol": (*bad.ABOVE_0, 1, 1.5)},
    ),
    "geometry.NormalSpace.tangent": Case(
        import_module("samviz.geometry").normal_space(FLAT, HERE).tangent,
        lambda: {"v": torch.ones(1, 1, 2).double()},
        {"v": (None, 3, "v", torch.ones(2), torch.ones(1, 1, 3), torch.ones(2, 1, 2), torch.full((1, 1, 2), bad.NAN))},
    ),
    "geometry.third_derivative": Case(
        import_module("samviz.geometry").third_derivative,
        lambda: {"problem": FLAT, "x": HERE, "v": torch.ones(1, 1, 2)},
        NORMAL
        | {
            "v": (None, 3, "v", torch.ones(2), torch.ones(1, 1, 3), torch.ones(2, 1, 2), torch.full((1, 1, 2), bad.NAN))
        },
    ),
    "geometry.limiting_regularizer": Case(
        import_module("samviz.geometry").limiting_regularizer,
        fixed(problem=FLAT, x=HERE, kind="ascent"),
        NORMAL | {"kind": (*bad.NAME, "Worst"), "stochastic": bad.FLAG, "rank_tol": (*bad.ABOVE_0, 1)},
    ),
    # how it moves
    "dynamics.Run": Case(
        Run,
        fixed(problem=SINE, device="cpu"),
        {
            "problem": PROBLEM,
            "rule": (*bad.NAME, "SAM"),
            "lr": (*bad.ABOVE_0, [0.1, 0.2], ["a"], [True]),
            "rho": (*bad.AT_LEAST_0, [0.1, 0.2], ["a"]),
            "batch_size": (*bad.MAYBE_COUNT, 21, 10**30),
            "x0": tuple(v for v in bad.points(13) if v is not None),
            "seed": (*bad.SEED, [0, 1], ["a"], []),
            "device": ("gpu", 2.5, None, "", "meta"),
            "dtype": (torch.float16, torch.int64, torch.complex64, "float32", 3),
            "trail": bad.STEPS,
        },
    ),
    "dynamics.Run.set": Case(
        run("set"),
        dict,
        {
            "lr": (*bad.ABOVE_0, [0.1, 0.2]),
            "rho": bad.AT_LEAST_0,
            "rule": bad.NAME,
            "batch_size": (1, 2.5),
        },
    ),
    "dynamics.Run.step": Case(run("step"), dict, {"n": bad.STEPS}),
    "dynamics.Run.measure": Case(run("measure"), dict, {"k": bad.COUNT, "trace": bad.FLAG}),
    "dynamics.Run.why_diverged": Case(run("why_diverged"), dict, {"r": (1, -2, 1.5, None, "0")}),
    "dynamics.Run.load_state_dict": Case(
        run("load_state_dict"),
        lambda: {"state": Run(FLAT, device="cpu").state_dict()},
        {"state": (None, 3, "state", {}, {"x": HERE}, Run(SINE, device="cpu").state_dict())},
    ),
    "dynamics.Settings": Case(
        Settings,
        dict,
        {
            "rule": (*bad.NAME, "SAM"),
            "lr": bad.ABOVE_0,
            "rho": bad.AT_LEAST_0,
            "batch_size": tuple(v for v in bad.MAYBE_COUNT if v not in (-1, 0)),
        },  # `fit` knows how many there are
    ),
    "dynamics.Settings.fit": Case(
        Settings(lr=(0.1, 0.2)).fit, fixed(runs=2, problem=FLAT), {"runs": (1, 3), "problem": PROBLEM}
    ),
    "dynamics.sweep": Case(
        sweep,
        fixed(problem=SINE, steps=1, device="cpu", progress=False),
        {
            "problem": PROBLEM,
            "rule": ("unknown", "", None, 3, bad.NAN, [], ["sam", "sam"], ["SAM"]),
            "lr": (*bad.ABOVE_0, [], [0.1, 0.1], [0.1, "a"]),
            "rho": (*bad.AT_LEAST_0, [], [0.1, 0.1]),
            "batch_size": (-1, 0, 1.5, bad.NAN, "3", 1j, True, 21, [], [1, 1], [1, 21]),
            "seeds": (-1, 0, 1.5, "0", None, [], [0, 0], [-1], [1.5], [2**70]),
            "steps": bad.STEPS,
            "x0": (*(v for v in bad.points(13) if v is not None), torch.zeros(2, 13)),
            "test": ((np.ones((3, 1)), np.zeros(3, int)),),
            "k": bad.COUNT,
            "path": (3, 1.5, b"here"),
            "executor": (3, "threads"),
            "progress": bad.FLAG,
            "device": ("gpu", 2.5, None, "", "meta"),
            "dtype": (torch.float16, torch.int64, "float32"),
        },
    ),
    "dynamics.descent": Case(
        import_module("samviz.dynamics").descent, fixed(problem=FLAT), {"problem": PROBLEM, "seed": bad.SEED}
    ),
    "dynamics.gradient_descent_minimum": Case(
        import_module("samviz.dynamics").gradient_descent_minimum,
        fixed(problem=FLAT),
        {"problem": PROBLEM, "seed": bad.SEED},
    ),
    "dynamics.edge_of_stability": Case(
        import_module("samviz.dynamics").edge_of_stability,
        fixed(lr=0.1, rho=0.1, grad_norm=1.0),
        {
            "lr": ("a", None, 1j, -0.1, 0.0, bad.INF, ["a"], [0.1, -0.1], [[0.1], [0.1, 0.2]]),
            "rho": ("a", None, 1j, -0.1, bad.INF, ["a"], [0.1, -0.1]),
            "grad_norm": ("a", None, 1j, -0.1, ["a"], [0.1, -0.1]),
        },
    ),
    "dynamics.gradient_flow_limit": Case(
        gradient_flow_limit, fixed(problem=FLAT, x=HERE), NORMAL | {"tol": (*bad.ABOVE_0, 1.0)}
    ),
    "dynamics.limiting_flow": Case(
        limiting_flow,
        lambda: {"problem": VALLEY, "x0": VALLEY.initial(), "times": [0.0, 0.1]},
        {
            "problem": PROBLEM,
            "x0": X4,
            "kind": (*bad.NAME, "ascent"),
            "times": (None, "late", [], [-1.0], [0.2, 0.1], [bad.NAN], [bad.INF], [[0.1]], [1j], ["a"]),
        },
    ),
    "dynamics.History.append": Case(
        lambda **given: History().append(**given), fixed(row={"step": 0}), {"row": (*bad.OBJECT, {}, {"loss": 1.0})}
    ),
    "dynamics.History.thinned": Case(RECORD.thinned, fixed(limit=2), {"limit": (*bad.COUNT, 1)}),
    "dynamics.phase_boundary": Case(
        import_module("samviz.dynamics").phase_boundary,
        lambda: {"history": measured()},
        {"history": (*bad.OBJECT, History(), RECORD)},
    ),
    "dynamics.tracking_error": Case(
        import_module("samviz.dynamics").tracking_error,
        lambda: {"problem": VALLEY, "x": FLOW.x, "flow": FLOW},
        {
            "problem": PROBLEM,
            "x": (
                None,
                3,
                "x",
                torch.zeros(4),
                torch.zeros(3, 1, 4),
                torch.zeros(2, 1, 3),
                torch.full((2, 1, 4), bad.NAN),
                torch.zeros(2, 1, 4, device="meta"),
            ),
            "flow": bad.OBJECT,
        },
    ),
    # SAM as an optimizer
    "optim.SAM": Case(
        SAM,
        lambda: {"params": net().parameters(), "base_optimizer": torch.optim.SGD, "lr": 0.1},
        {
            "params": (
                None,
                3,
                [],
                torch.ones(2),
                [torch.ones(2, dtype=torch.int64)],
                [3],
                [nn.Parameter(torch.ones(2, dtype=torch.complex64))],
            ),
            "base_optimizer": (None, 3, "SGD", torch.optim.LBFGS, lambda *_, **__: None),
            "rho": bad.AT_LEAST_0,
            "adaptive": bad.FLAG,
            "m": bad.MAYBE_COUNT,
        },
        {"options": "the base optimizer's own, and its to check"},
    ),
    "optim.SAM.add_param_group": Case(
        lambda **given: sam().add_param_group(**given),
        lambda: {"param_group": {"params": list(net().parameters())}},
        {"param_group": (None, 3, {}, [nn.Parameter(torch.ones(2))])},
    ),
    "optim.SAM.step": Case(
        stepped,
        dict,
        {
            "closure": (3, "loss", bad.no_loss, lambda: torch.ones(2), lambda: "low"),
            "samples": bad.MAYBE_COUNT,
            "scaler": (3, "scale"),
        },
    ),
    "optim.SAM.first_step": Case(lambda **given: with_gradients().first_step(**given), dict, {"zero_grad": bad.FLAG}),
    "optim.SAM.second_step": Case(second, dict, {"scaler": (3, "scale"), "zero_grad": bad.FLAG}),
    # a training of one's own
    "probe.Probe": Case(
        Probe,
        trained(budget=None),
        MODEL
        | {
            "every": bad.COUNT,
            "k": bad.COUNT,
            "rho": RHO,
            "measures": (None, 3, "colour", ["eigenvalues", "colour"], [3]),
            "budget": (0, -0.1, 1.5, bad.NAN, "0.1", True, 1j),
            "training": bad.FLAG,
            "seed": bad.SEED,
        },
    ),
    "probe.Probe.step": Case(lambda **given: probe(every=1).step(**given), dict, {"logged": ()}),
    "probe.Probe.to_csv": Case(
        lambda **given: probe().to_csv(**given), None, {"path": (None, 3, "/no/such/folder/a.csv")}
    ),
    "probe.Probe.lab": Case(
        lambda **given: probe().lab(**given), dict, {"train": (3, "train"), "optimizer": (3, "SGD", object())}
    ),
    # what the paper says
    "claims.claim": Case(import_module("samviz.claims").claim, fixed(source="Eq. 1"), {"source": (None, 3)}),
    "claims.verify": Case(
        import_module("samviz.claims").verify,
        fixed(names=["two_cycle"], quick=True),
        {"names": (None, 3, "two_cycl", "two_cycle", ["two_cycl"], [3]), "quick": bad.FLAG},
    ),
}


def measured() -> History:
    """The record of a short run."""
    going = Run(FLAT, device="cpu")
    going.measure()
    return going.history
