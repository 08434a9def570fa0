"""All that is measured: every row of the table, with its target. T2 and T3 are those of `subjects`."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks import any_module, cuda, landscapes, probe, spectra, startup, steps, tracking, valley
from benchmarks.row import Row, Target
from benchmarks.subjects import t2, t3


def at_least(bound: float) -> Target:
    """So many times faster than the peer."""
    return Target("≥", bound)


def at_most(bound: float, unit: str = "×") -> Target:
    """So many times the peer's time, or so much of our own."""
    return Target("≤", bound, unit)


built_in = steps.network_against_pytorch_optimizer
many = partial(steps.many_runs_against_one, runs=64)

STEPS = [
    Row("one SAM step of a torch module, T2, against two passes", at_most(1.10), steps.module_against_passes),
    Row(
        "one SAM step of a torch module, T2, against pytorch_optimizer",
        at_least(1.4),
        steps.module_against_pytorch_optimizer,
    ),
    Row("step, T2, against pytorch_optimizer", at_least(9), partial(built_in, subject=t2, batch=None)),
    Row("step, T2, batch 1, against pytorch_optimizer", at_least(80), partial(built_in, subject=t2, batch=1)),
    Row("step, T3, against pytorch_optimizer", at_least(2), partial(built_in, subject=t3, batch=None)),
    *(
        Row(
            f"step, T2, {name}, against a plain SAM step", at_most(1.3), partial(steps.setting_against_plain, **setting)
        )
        for name, setting in (("momentum 0.9", {"momentum": 0.9}), ("m = 25", {"micro_batch": 25}))
    ),
    Row("step, valley", at_most(400, "ns"), valley.step),
    Row("step of one of 64 runs, T2, against one torch run", at_least(7), partial(many, batch=None)),
    Row("step of one of 64 runs, T2, batch 1, against one torch run", at_least(60), partial(many, batch=1)),
]

CUDA = [
    Row("step, T2, on CUDA", at_most(60, "µs"), cuda.step),
    Row("step of 256 runs, T2, on CUDA, against one run", at_most(2), cuda.many_runs_against_one),
]

SPECTRA = [
    Row(
        f"top {k} eigenpair{'s' * (k > 1)}, {name}, against {peer}",
        at_least(bounds[k]),
        partial(spectra.compared, subject=subject, k=k, peer=solver, tol=tol),
    )
    for peer, solver, tols, targets in (
        ("pyhessian", spectra.pyhessian, (6e-2, 3e-2), ({1: 6, 5: 12}, {1: 3, 5: 6})),
        ("curvlinops and eigsh", spectra.curvlinops, (4e-8, 4e-8), ({1: 30, 5: 30}, {1: 4, 5: 4})),
        ("hessian-eigenthings", spectra.eigenthings, (2e-5, 2e-5), ({1: 3, 5: 3}, {1: 2, 5: 2})),
    )
    for name, subject, tol, bounds in (("T2", t2, tols[0], targets[0]), ("T3", t3, tols[1], targets[1]))
    for k in (1, 5)
]

TRACKING = [
    Row(f"tracking k = {k}, T2, {name}", at_most(bound, "HVPs"), partial(tracking.followed, regime=regime, k=k))
    for k, bound in ((1, 5), (5, 24))
    for name, regime in (
        ("gradient descent at the edge of stability", tracking.EDGE),
        ("SAM", tracking.SHARPENING),
        ("SAM with λ₁ ≈ λ₂", tracking.CROSSING),
        ("mini-batch SAM", tracking.MINIBATCH),
    )
]

LANDSCAPES = [
    Row(
        f"landscape 51×51, {name}, {precision}, against loss-landscapes",
        at_least(bound),
        partial(landscapes.compared, subject=subject, dtype=dtype),
    )
    for name, subject, bounds in (("T2", t2, (7, 4)), ("T3", t3, (3, 2)))
    for precision, dtype, bound in (("float32", torch.float32, bounds[0]), ("float64", torch.float64, bounds[1]))
]

SMALL = (("transformer", probe.SMALL_TRANSFORMER), ("CNN", probe.SMALL_CNN))

PROBE = [
    *(Row(f"share of a probe, {name}", at_most(5, "%"), partial(probe.share, task=task)) for name, task in SMALL),
    Row("call of a probe, nothing due", at_most(5, "µs"), probe.idle),
]

cnn = partial(any_module.network, probe.CNN)
transformer = partial(any_module.network, probe.SMALL_TRANSFORMER)
own_step = partial(any_module.step, subject=lambda _: t2(), dtype=torch.float64)
pairs = partial(spectra.compared, subject=cnn, k=2, peer=spectra.pyhessian, least=1, units=1)
TASKS = (("transformer", probe.TRANSFORMER), ("CNN", probe.CNN))

ANY_MODULE = [
    Row("step of samviz.optim.SAM, T2, against pytorch_optimizer", at_least(1.15), own_step),
    Row(
        "step of samviz.optim.SAM over AdamW, T2, against pytorch_optimizer",
        at_least(1),
        partial(own_step, base=torch.optim.AdamW),
    ),
    Row(
        "step of samviz.optim.SAM, small transformer, float32, against pytorch_optimizer",
        at_least(1),
        partial(any_module.step, subject=transformer, dtype=torch.float32),
    ),
    Row(
        "step of samviz.optim.SAM, CNN, float32, against pytorch_optimizer",
        at_least(1),
        partial(any_module.step, subject=cnn, dtype=torch.float32),
    ),
    Row(
        "step of samviz.optim.SAM, CNN, float32, against two passes and a step of SGD",
        at_most(1.03),
        partial(any_module.step_against_passes, subject=cnn, dtype=torch.float32),
    ),
    *(
        Row(
            f"product with the Hessian, {name}, float32, {data}, against curvlinops",
            at_least(1),
            partial(any_module.product, task=task, batches=batches),
        )
        for (name, task), data, batches in zip(TASKS, ("one batch", "two batches"), (1, 2))
    ),
    Row("top 2 eigenpairs, CNN, float32, against pyhessian", at_least(1.3), partial(pairs, tol=6e-2)),
    Row("top 2 eigenpairs, CNN, float32, default tolerance, against pyhessian", at_least(1), partial(pairs, tol=None)),
    Row(
        "spectral density, CNN, float32, against hessian-eigenthings",
        at_least(2),
        partial(any_module.density, task=probe.CNN),
    ),
]

ROWS = [
    *STEPS,
    *(CUDA if torch.cuda.is_available() else []),
    *SPECTRA,
    *TRACKING,
    *LANDSCAPES,
    *PROBE,
    *ANY_MODULE,
    Row("import samviz, against import torch", at_most(0.35), startup.imports),
]
