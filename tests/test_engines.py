"""The engines take the same steps: compiled code, CUDA graphs, and torch step by step."""

import os
import warnings
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
import torch
from fresh import python
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import samviz.dynamics.run as run_module
from samviz import kernels
from samviz.dynamics import RULES, Diverged, Rule, Run, Settings
from samviz.dynamics import engines as cuda_graph
from samviz.dynamics.engines import StepBlock, engine, torch_steps
from samviz.problems import mlp, quadratic, valley
from samviz.problems.primitives import hvp

PROBLEMS = {
    "valley": valley(),
    "mean of the valley": valley(mean=True),
    "quadratic": quadratic([3.0, 1.0, 0.5]),
    "quadratics": quadratic(np.stack([np.diag([3.0, 1.0]), [[1.0, 0.5], [0.5, 2.0]]])),
    "tanh": mlp([1, 8, 8, 1], data="sine"),
    "softplus": mlp([2, 6, 2], "softplus", "spirals", "cross_entropy"),
    "relu": mlp([2, 5, 5, 1], "relu", "spirals"),
    "sigmoid": mlp([2, 4, 4, 2], "sigmoid", "spirals"),
    "identity": mlp([1, 3, 1], "identity", "sine"),
}
GRAPHED = [PROBLEMS[name] for name in ("mean of the valley", "quadratics", "tanh", "softplus")]  # one of each kind
# Near a minimum the directions of these rules are discontinuous and rounding errors grow: take small steps.
SMALL = {"ascent": 5e-4, "eigen_sam": 5e-4, "normalized_gd": 5e-4}
# The last micro-batch is smaller than the others.
MOMENTUM = {"momentum": 0.8, "weight_decay": 0.01, "micro_batch": 3, "lr_decay": 0.02}
COMPILED = pytest.mark.skipif(not kernels.available(), reason="numba is not installed")


def uncaptured(block):
    """Take the steps of a CUDA graph one by one, on any device."""
    state = cuda_graph.GraphState(block)
    return cuda_graph.replay(block, state, state.step)


TORCH = "torch", torch_steps
ENGINES = {"compiled": engine, "graph": lambda *_: ("graph", uncaptured)}
both_engines = pytest.mark.parametrize("name", [pytest.param("compiled", marks=COMPILED), "graph"])


def both(monkeypatch, name, problem, blocks, **settings):
    """Take the same steps with an engine and with torch."""
    runs = []
    for choice in (ENGINES[name], lambda *_: TORCH):
        monkeypatch.setattr(run_module, "engine", choice)
        runs.append(Run(problem, device="cpu", **settings))
        for n in blocks:
            try:
                runs[-1].step(n)
            except Diverged:
                break
    return runs


def starts(problem, runs, spread=0.01):
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(runs, problem.dim, generator=generator, dtype=torch.float64)
    return problem.initial(0) + spread * noise


def agree(fast, slow, **tolerance):
    assert fast.steps == slow.steps
    assert fast.diverged_at.tolist() == slow.diverged_at.tolist()
    torch.testing.assert_close(fast.x, slow.x, **tolerance)
    for one, other in zip(fast.trail, slow.trail, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@both_engines
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_trajectories_agree_over_200_steps(monkeypatch, name, rule, problem):
    """The compilation of the kernels and rules takes seconds where they are not in the cache."""
    if RULES[rule].square_loss and not problem.square_targets:
        pytest.skip("no square loss")
    if name == "graph" and (not RULES[rule].capturable or problem not in GRAPHED):
        pytest.skip("not captured, or like the others")
    cases = [{"batch_size": size} for size in ([None, 1, 2] if problem.samples else [None])]
    if problem is PROBLEMS["tanh"]:
        cases += [MOMENTUM, {"batch_size": 7} | MOMENTUM]
    for case in cases:
        lr = SMALL.get(rule, 0.02 if name == "compiled" else 0.01)
        settings = {"rule": rule, "lr": lr, "seed": 3, "trail": 7} | case
        for x0, rho in ((starts(problem, 1)[0], 0.01), (starts(problem, 3), (0.0, 0.01, 0.02))):
            fast, slow = both(monkeypatch, name, problem, (64, 1, 135), x0=x0, rho=rho, **settings)
            agree(fast, slow, atol=1e-10, rtol=0)
            assert fast.steps == 200
            torch.testing.assert_close(fast.curvature, slow.curvature, atol=1e-6, rtol=1e-6, equal_nan=True)


@both_engines
@pytest.mark.parametrize("problem", [valley(), quadratic([3.0, 1.0]), mlp([1, 8, 8, 1], data="sine")])
@pytest.mark.parametrize("rule", ["gd", "sam"])
@pytest.mark.parametrize("blocks", [(1,) * 300, (300,), (7, 100, 193)])
def test_engines_stop_at_the_same_step(monkeypatch, name, problem, rule, blocks):
    for lrs in ((40.0,), (0.01, 60.0), (40.0, 60.0)):
        settings = {"rule": rule, "lr": lrs, "rho": 0.01, "x0": starts(problem, len(lrs)), "trail": 20}
        agree(*both(monkeypatch, name, problem, blocks, **settings), rtol=1e-6, atol=1e-300)


@pytest.mark.parametrize("name", ["torch", pytest.param("compiled", marks=COMPILED)])
def test_a_loss_that_is_not_a_number_is_out_of_bounds(monkeypatch, name):
    if name == "torch":
        monkeypatch.setattr(run_module, "engine", lambda *_: TORCH)
    run = Run(quadratic([1e200, -1e200]), "gd", lr=1.0, x0=[1e-40, 1e-40], device="cpu")
    with pytest.raises(Diverged):
        run.step(2)  # to (−1e160, 1e160), where the loss is ∞ − ∞
    assert run.diverged_at.tolist() == [1]
    assert run.x.tolist() == [[1e-40, 1e-40]]
    assert run.steps == 0


@COMPILED
@pytest.mark.parametrize("rule", RULES)
def test_compiled_steps_do_not_depend_on_their_grouping_or_on_other_runs(rule):
    """Runs in common have their own η, ρ and seed."""
    problem, lrs, rhos = mlp([1, 6, 1], data="sine"), (0.005, 0.01, 0.02), (0.0, 0.03, 0.01)
    x0 = starts(problem, 3)
    together = Run(problem, rule, lrs, rhos, batch_size=3, x0=x0, seed=5)
    together.step(150)
    for r in range(3):
        alone = Run(problem, rule, lrs[r], rhos[r], batch_size=3, x0=x0[r], seed=5 + r)
        for _ in range(150):
            alone.step()
        assert torch.equal(alone.x[0], together.x[r])


@COMPILED
def test_built_in_problems_of_moderate_size_are_compiled():
    assert Run(mlp([1, 4, 1], data="sine"), device="cpu").engine == "compiled"
    assert Run(mlp([1, 4, 1], "gelu", "sine"), device="cpu").engine == "torch"
    assert Run(mlp([1, 4, 1], data="sine"), device="cpu", dtype=torch.float32).engine == "torch"
    large = mlp([1, 4, 1], data="sine")
    large.samples = 10**9
    assert large.compiled() is None


def product_of(p, x, v):
    return hvp(p, x, v)


def newton_like(p, x, g, rho):
    """A rule whose helper needs a Hessian-vector product."""
    return g + product_of(p, x, g)


@COMPILED
@pytest.mark.parametrize(("compiled", "name"), [(False, "torch"), (True, "compiled")])
def test_a_registered_rule_with_a_helper_runs_in_torch_and_compiled(monkeypatch, compiled, name):
    monkeypatch.setitem(RULES, "newton_like", Rule("newton_like", newton_like, "", compiled=compiled))
    run = Run(quadratic([3.0, 1.0]), "newton_like", lr=0.1, x0=[1.0, 1.0], device="cpu")
    assert run.engine == name
    run.step(3)
    np.testing.assert_allclose(run.x[0], (1 - 0.1 * (np.array([3.0, 1.0]) + np.array([9.0, 1.0]))) ** 3, rtol=1e-12)


def longer(p, x, g, rho):
    """A rule with a mistake: its noise is longer than the parameters."""
    return g + p.noise


@COMPILED
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # numba prints the rule's exception
def test_a_mistake_in_a_compiled_rule_is_an_error(monkeypatch):
    count = Rule("longer", longer, "", compiled=True, noise=lambda dim, targets: dim + 1)
    monkeypatch.setitem(RULES, "longer", count)
    run = Run(quadratic([3.0, 1.0]), "longer", x0=[1.0, 1.0], device="cpu")
    with pytest.raises(ValueError, match="compiled=False"):
        run.step()


@COMPILED
def test_stale_compiled_code_is_removed_where_numba_caches_it(tmp_path, monkeypatch):
    """NUMBA_CACHE_DIR moves the compiled code out of the package; numba itself checks only the rule's own source."""
    import numba

    def refused(*_, **__):
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    rule = RULES["worst"].direction
    folders = [Path(numba.njit(cache=True)(f).stats.cache_path) for f in (kernels.available.__wrapped__, rule)]
    assert folders[0].parent == tmp_path
    source, new, other = tmp_path / "called.py", folders[1] / "b.nbi", tmp_path / "other" / "a.nbi"
    old = [folder / "a.nbi" for folder in folders]
    other.parent.mkdir()
    for path in (*old, new, other, source):
        path.touch()
    for path in (*old, other):
        os.utime(path, (1, 1))
    kernels.available.__wrapped__()
    kernels.drop_stale(rule)
    assert [path.exists() for path in (*old, new, other)] == [False, False, True, True]
    os.utime(source, (new.stat().st_mtime + 10,) * 2)  # the source of a function that the rule calls
    called = rule.__globals__["frank_wolfe"].__code__.replace(co_filename=str(source))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)  # as on Windows, while another process uses the file
        kernels.drop_stale(rule, FunctionType(called, {}))
    assert new.exists()
    kernels.drop_stale(rule, FunctionType(called, {}))
    assert [path.exists() for path in (new, other)] == [False, True]


WITHOUT = """
import sys
sys.modules["numba"] = None
import torch, samviz
from samviz.geometry import hessian_plane, landscape, top_eigenpairs
for problem in (samviz.valley(), samviz.mlp([1, 8, 1], data="sine"), samviz.quadratic([3.0, 1.0])):
    run = samviz.Run(problem, rho=0.01, lr=0.02, device="cpu", trail=5)
    assert run.engine == "torch", run.engine
    run.step(200)
    run.measure()
    landscape(problem, run.x[0], radius=0.1, resolution=5)
    print(*run.x[0].tolist(), *run.trail[0][0].tolist(), run.curvature.item())
assert not any(name.startswith("numba.") for name in sys.modules)
"""


@pytest.mark.slow
@COMPILED
def test_everything_works_without_numba_and_gives_the_same_numbers():
    ran = python("-c", WITHOUT)
    assert ran.returncode == 0, ran.stderr
    for line, problem in zip(ran.stdout.splitlines(), (valley(), mlp([1, 8, 1], data="sine"), quadratic([3.0, 1.0]))):
        run = Run(problem, rho=0.01, lr=0.02, device="cpu", trail=5)
        run.step(200)
        numbers = [*run.x[0].tolist(), *run.trail[0][0].tolist(), run.curvature.item()]
        np.testing.assert_allclose([float(word) for word in line.split()], numbers, rtol=1e-6, atol=1e-10)


def test_curvature_is_measured_along_the_gradient_of_the_last_step():
    problem = mlp([1, 8, 1], data="sine")
    run = Run(problem, rule="sam", lr=0.02, rho=1e-5, device="cpu")
    assert torch.isnan(run.curvature).all()
    run.step(10)
    before = run.x.clone()
    run.step()
    u = torch.nn.functional.normalize(problem.gradient(before)[1])
    expected = (u * (problem.hessian(before)[0] @ u[0])).sum(1)
    torch.testing.assert_close(run.curvature, expected, rtol=1e-4, atol=1e-6)
    for changes in ({"rho": 0.0}, {"rho": 0.1, "rule": "usam"}):
        run.settings = replace(run.settings, **changes)
        run.step()
        assert torch.isnan(run.curvature).all()


def fails_to_replay(block):
    """Return graphs whose second replay fails after its steps."""
    state, replays = cuda_graph.GraphState(block), []

    def play(steps):
        replays.append(steps)
        state.step(steps)
        if len(replays) == 2:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    return state, play


@pytest.mark.parametrize(("rule", "lr"), [("sam", 0.01), ("label_noise", 0.01), ("sam", 40.0)])
def test_a_graph_that_fails_is_replaced_by_single_steps(monkeypatch, rule, lr):
    """Bit for bit, with one warning; a problem on the CPU whose device is set to "cuda" stands in for one on a GPU."""
    attempts = []
    monkeypatch.setattr(cuda_graph, "capture", lambda block: attempts.append(1) or fails_to_replay(block))
    problem = mlp([1, 8, 8, 1], data="sine")
    settings = {"rule": rule, "lr": lr, "rho": 0.01, "batch_size": 3, "trail": 7, "x0": starts(problem, 3)}
    graph, single = (Run(copy(problem), device="cpu", **settings) for _ in range(2))
    graph.problem.device = single.problem.device = torch.device("cuda")
    assert graph.engine == "CUDA graph"
    diverged = 0
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for run in (graph, single):
            try:
                for n in (64, 1, 135):
                    run.step(n)
            except Diverged:
                diverged += 1
            monkeypatch.setattr(run_module, "engine", lambda *_: TORCH)
    assert diverged == (2 if lr > 1 else 0)
    assert attempts == [1]
    (warning,) = warned
    assert issubclass(warning.category, RuntimeWarning)
    assert "RuntimeError: CUDA error: operation not permitted" in str(warning.message)
    monkeypatch.undo()
    assert graph.engine == "torch"
    agree(graph, single, rtol=0, atol=0)
    for name in ("before", "curvature"):
        torch.testing.assert_close(getattr(graph, name), getattr(single, name), rtol=0, atol=0, equal_nan=True)


class OneDevice(TorchDispatchMode):
    """Refuse operations on tensors of the CPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, result)):
            assert not isinstance(value, torch.Tensor) or value.device.type == "meta", f"{function} is on the CPU"
        return result


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("problem", GRAPHED)
def test_captured_rules_use_one_device_and_never_synchronize(rule, problem):
    """Tensors on the device "meta" have no values: reading one raises an error, as it does in a capture."""
    if RULES[rule].square_loss and not problem.square_targets:
        pytest.skip("no square loss")
    moved = copy(problem)
    moved.device = torch.device("meta")
    for attribute, value in vars(problem).items():
        if isinstance(value, torch.Tensor):
            setattr(moved, attribute, value.to("meta"))
    for batch_size in [None, 2] if problem.samples else [None]:
        settings, x, running = Settings(rule, batch_size=batch_size), starts(problem, 3).to("meta"), np.ones(3, bool)
        block = StepBlock(moved, settings, x, x, running, x[:, 0], (0, 1, 2), first=0, n=1, path_length=0)
        with OneDevice() if RULES[rule].capturable else pytest.raises(RuntimeError, match="meta"):
            cuda_graph.GraphState(block).step(1)
