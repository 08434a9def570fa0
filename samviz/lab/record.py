"""A run once more from its start, as one page that plays it without a kernel."""

from __future__ import annotations

from bisect import bisect_left
from html import escape
from typing import Any

import numpy as np

from samviz import __version__
from samviz.checks import check_int
from samviz.dynamics import Diverged
from samviz.figures.page import page
from samviz.figures.replay import replay
from samviz.lab import words
from samviz.lab.session import Session

STRIDES = 1, 2, 3, 4, 5, 6, 8  # and these times a power of ten


def run_page(session: Session, frames: int) -> str:
    """The run of a session as a page: what was run, pictures that play, what was measured at both ends.

    Args:
        session: left as it is.
        frames: pictures, 2 or more; fewer where that makes the steps between them a round number.

    Returns:
        HTML that needs neither network nor kernel.

    Raises:
        ValueError: when the run has no step yet, or the frames are too few.
        TypeError: when frames is no integer.
    """
    frames = check_int("frames", frames, "2 or more", 2)
    if not session.run.steps:
        raise ValueError("the run has 0 steps; expected 1 or more: press Play or call lab.run(n) before the export")
    again, pictures = taken_again(session, frames)
    run, rows, samples = again.run, again.run.history.rows, session.problem.samples
    title = f"{words.rule_name(run.settings.rule)} on {session.problem.name}"
    told = f"{run.steps:,} steps from seed {run.seed}: {words.phase(again.now(), samples, again.falling())}."
    head = "from step", "rule", "η", "ρ", "batch size"
    held = [
        (f"{step:,}", words.rule_name(s.rule), f"{s.lr:g}", f"{s.rho:g}", str(s.batch_size or samples or "–"))
        for step, s in run.changes
    ]
    names = "", "loss, full batch", "λ₁", "trace", "cos(∇L, v₁)", "cos(∇L, top eigenspace)"
    measured = zip(names, _measured(rows[0]), _measured(rows[-1]), strict=True)
    apart = float((run.x - session.run.x).norm())
    same = "at the same iterate, bit for bit" if apart == 0 else f"{apart:.1e} away from the run’s own last iterate"
    made = f"{session.problem.dim:,} parameters, {run.x.dtype}, {run.x.device.type.upper()}, engine: {run.engine}"
    origin = f"For this page the run was taken again; it ended {same}. {made}, samviz {__version__}."
    return page(
        title,
        replay(list(pictures.values()), [f"step {step:,}" for step in pictures]),
        before=f'<h1>{escape(title)}</h1><p>{escape(told)}</p><p class="fails">{escape(session.stopped)}</p>',
        after=f"{_table([head, *held])}{_table(list(measured))}<p><small>{escape(origin)}</small></p>",
    )


def taken_again(session: Session, frames: int) -> tuple[Session, dict[int, dict[str, Any]]]:
    """The steps of a run again, with every change of the settings at its step, and pictures on the way.

    What is measured and sliced depends on the steps alone, and not on the clock as in the lab: the same page each time.

    Args:
        session: whose run it is.
        frames: pictures, at most.

    Returns:
        Another session, at the end; and the pictures by their steps.
    """
    from tqdm.auto import tqdm

    run = session.run
    again = Session(session.problem, run.changes[0][1], run.seed, session.scene.path[0])
    again.scene.kind = session.scene.kind if session.scene.kind != "pca" else "hessian"  # no trajectory yet
    changes = dict(run.changes)
    pictures: dict[int, dict[str, Any]] = {}
    for stop in tqdm(stops(run.steps, frames), "replaying the run", leave=False, delay=1):
        try:
            for step in sorted({stop, *(s for s in changes if again.run.steps < s < stop)}):
                again.run.settings = changes.get(again.run.steps, again.run.settings)
                again.run.step(step - again.run.steps)
        except Diverged:
            again.stopped = again.run.why_diverged()
        if again.run.steps and not again.stopped:
            again.run.measure()
            again.scene.remember()
            if np.isfinite(curvature := float(again.run.curvature[0])):
                again.estimates.append({"step": again.run.steps, "curvature": curvature})
        for _ in again.slice(now=np.inf):
            pass
        pictures[again.run.steps] = again.figure(compare=False)
        if again.stopped:
            break
    return again, pictures


def stops(end: int, frames: int) -> list[int]:
    """Steps from 0 to the end, a round number apart.

    >>> stops(250, 4)
    [0, 100, 200, 250]
    """
    strides = [m * 10**power for power in range(len(str(end))) for m in STRIDES] + [end]
    return [*range(0, end, strides[bisect_left(strides, end / (frames - 1))]), end]


def _measured(row: dict[str, Any]) -> tuple[str, ...]:
    """A measurement with its evidence, as cells."""
    held = "" if row["converged"] else ", not converged"
    error = f"± {row['trace_error']:.1g}, standard error" if row["trace_error"] else "exact"
    return (
        f"step {row['step']:,}",
        f"{row['loss']:.3g}",
        f"{row['eigenvalues'][0]:.4g} (‖Hv − λv‖ = {row['residuals'][0]:.0e}{held})",
        f"{row['trace']:.4g} ({error})",
        f"{row['cos_v1']:.3g}",
        f"{row['cos_eigenspace']:.3g} (of dimension {row['multiplicity']})",
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    """A table under its first row."""
    head, *body = ("<td>".join(["", *map(escape, row)]) for row in rows)
    return f"<table><tr>{head.replace('<td>', '<th>')}{''.join(f'<tr>{cells}' for cells in body)}</table>"
