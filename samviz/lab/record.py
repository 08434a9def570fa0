"""Take the steps of a run again, and write them as one page that plays without a kernel."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from samviz import __version__
from samviz.checks import check_int
from samviz.dynamics import RULES, Settings
from samviz.figures.export import page
from samviz.lab.session import Session
from samviz.lab.status import phase

STRIDES = 1, 2, 3, 4, 5, 6, 8  # and these times a power of ten


def retake(
    session: Session, changes: Sequence[tuple[int, Settings]], steps: Sequence[int], *, live: bool
) -> Iterator[int | None]:
    """Take the steps of a run in a new session, with its changes of settings, and measure at the given steps.

    Yields the step after each measurement and after a divergence, which ends the run, and None after other work.
    """
    settings = dict(changes)
    for end in sorted({*steps, *settings}):
        for _ in session.advance(end - session.run.steps, live=live):
            yield None
        if end in steps and end > 0 and not session.stopped:
            session.measure()
        if end in steps or session.stopped:
            yield session.run.steps
        if session.stopped:
            return
        session.run.settings = settings.get(end, session.run.settings)


def round_steps(end: int, count: int) -> list[int]:
    """Return at most `count` steps from 0 to the end, a round number apart.

    >>> round_steps(250, 4)
    [0, 100, 200, 250]
    """
    strides = [m * 10**power for power in range(len(str(end))) for m in STRIDES] + [end]
    return [*range(0, end, strides[bisect_left(strides, end / (count - 1))]), end]


def run_page(session: Session, frames: int) -> str:
    """Return a page with figures of a run, its settings, and the measurements at both ends; `frames` as in `export`.

    The figures depend on the steps alone and not on the clock, unlike those of the lab.
    """
    from tqdm.auto import tqdm

    frames = check_int("frames", frames, "2 or more", 2)
    if not session.run.steps:
        raise ValueError("the run has 0 steps; expected 1 or more: press Play or call lab.run(n) before the export")
    past, samples = session.run, session.problem.samples
    again = Session(session.problem, past.changes[0][1], past.seed, session.path[0])
    again.choose_plane(session.plane if session.plane != "pca" else "hessian")  # no trajectory yet
    run, stops = again.run, round_steps(past.steps, frames)
    drawings, labels = [], []
    taken = (step for step in retake(again, past.changes, stops, live=False) if step is not None)
    for step in tqdm(taken, "replaying the run", len(stops), leave=False, delay=1):
        for _ in again.slice(now=np.inf):
            pass
        part = phase(again.now(), samples, again.falling())
        drawings.append((again.figure(compare=False), f"Step {step:,}: {part}."))
        labels.append(f"step {step:,}")
    title = f"{RULES[run.settings.rule].label} on {session.problem.name}"
    settings = [
        (f"{step:,}", RULES[s.rule].label, f"{s.lr:g}", f"{s.rho:g}", str(s.batch_size or samples or "–"))
        for step, s in run.changes
    ]
    names = "", "loss, full batch", "λ₁", "trace", "cos(∇L, v₁)", "cos(∇L, top eigenspace)"
    ends = zip(names, _cells(run.history.rows[0]), _cells(run.history.rows[-1]), strict=True)
    distance = float((run.x - past.x).norm())
    compared = (
        f"{distance:.1e} away from the last iterate of the run" if distance else "at the same iterate, bit for bit"
    )
    origin = (
        f"For this page the run was taken again; it ended {compared}. {session.problem.dim:,} parameters, "
        f"{run.x.dtype}, {run.x.device.type.upper()}, engine: {run.engine}, samviz {__version__}."
    )
    return page(
        title,
        drawings,
        labels,
        before=f"<h1>{escape(title)}</h1><p>{run.steps:,} steps from seed {run.seed}: {escape(part)}.</p>"
        f'<p class="fails">{escape(session.stopped)}</p>',
        after=f"{_table([('from step', 'rule', 'η', 'ρ', 'batch size'), *settings])}{_table(list(ends))}"
        f"<p><small>{escape(origin)}</small></p>",
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a measurement with its evidence, as cells of a table."""
    error = f"± {row['trace_error']:.1g}, standard error" if row["trace_error"] else "exact"
    return (
        f"step {row['step']:,}",
        f"{row['loss']:.3g}",
        f"{row['eigenvalues'][0]:.4g} (‖Hv − λv‖ = {row['residuals'][0]:.0e}"
        f"{'' if row['converged'] else ', not converged'})",
        f"{row['trace']:.4g} ({error})",
        f"{row['cos_v1']:.3g}",
        f"{row['cos_eigenspace']:.3g} (of dimension {row['multiplicity']})",
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    """Return an HTML table whose first row is its head."""
    head, *body = ("<td>".join(["", *map(escape, row)]) for row in rows)
    return f"<table><tr>{head.replace('<td>', '<th>')}{''.join(f'<tr>{cells}' for cells in body)}</table>"
