"""Take the steps of a run again: for a page that plays without a kernel, and from one line of text.

The text is `samviz1:`, the version of samviz, and JSON that is compressed by zlib (whose checksum detects damage) and
written in the plain base64 alphabet (chats use `_` and `*` for markup). Nothing in it is ever evaluated.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from samviz import __version__
from samviz.checks import check_int, check_seed, check_type
from samviz.dynamics import RULES, Settings
from samviz.dynamics.sweep import digest
from samviz.figures.export import page
from samviz.lab.session import Progress, Session
from samviz.lab.status import phase
from samviz.problems import Problem, mlp, quadratic, valley
from samviz.problems.closed_forms import Quadratic, Valley
from samviz.problems.data import DATASETS
from samviz.problems.network import LOSSES, MLP

FORMAT = "samviz1"
MAX_STEPS, MAX_PARAMETERS, MAX_NUMBERS = 10**7, 10**5, 64  # of a run; of a network; of a start or a quadratic
MAX_TEXT, MAX_JSON = 2**16, 2**20  # characters of a text and of the JSON in it
ROWS = 100  # approximate number of measurements of a replayed run
REMEDY = "share a picture by lab.export('run.html'), or code that makes the problem and lab.session.run.state_dict()"
STRIDES = 1, 2, 3, 4, 5, 6, 8  # the steps of a page are such a number times a power of ten apart


def retake(
    session: Session, changes: Sequence[tuple[int, Settings]], steps: Sequence[int], *, live: bool
) -> Iterator[int | None]:
    """Take the steps of a run in a new session, with its changes of settings, and measure at the given steps."""
    settings = dict(changes)
    for end in sorted({*steps, *settings}):
        for _ in session.advance(end - session.run.steps, live=live):
            yield None
        if end in steps and end > 0 and not session.stopped:
            session.measure()
        if end in steps or session.stopped:
            yield session.run.steps  # after a measurement, or a divergence, which ends the run
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
    """Return a page with figures of a run, its settings, and the measurements at both ends; `frames` as in `export`."""
    from tqdm.auto import tqdm

    frames = check_int("frames", frames, "2 or more", 2)
    if not session.run.steps:
        raise ValueError("the run has 0 steps; expected 1 or more: press Play or call lab.run(n) before the export")
    past, samples = session.run, session.problem.samples
    again = Session(session.problem, past.changes[0][1], past.seed, session.path[0])
    again.choose_plane(session.plane if session.plane != "pca" else "hessian")  # no trajectory yet
    again.choose_quantity(session.quantity)
    run, stops = again.run, round_steps(past.steps, frames)
    drawings, labels = [], []
    # live=False: the figures depend on the steps alone and not on the clock, unlike those of the lab
    taken = (step for step in retake(again, past.changes, stops, live=False) if step is not None)
    for step in tqdm(taken, "replaying the run", len(stops), leave=False, delay=1):
        for _ in again.slice(now=np.inf):
            pass
        part = phase(again.now(), samples)
        drawings.append((again.figure(compare=False), f"Step {step:,}. {part}."))
        labels.append(f"step {step:,}")
    title = f"{RULES[run.settings.rule].label} on {session.problem.name}"
    changes = [_titled(step, settings, samples) for step, settings in run.changes]
    settings = [tuple(changes[0]), *(tuple(each.values()) for each in changes)]
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
        after=f"{_table(settings)}{_table(list(ends))}<p><small>{escape(origin)}</small></p>",
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


@dataclass(frozen=True)
class Shared:
    """The run that a shared text describes."""

    problem: Problem
    problem_call: list[Any]  # the function that makes the problem, and its arguments: plain values
    dtype: str  # "float64" or "float32"
    seed: int
    x0: list[float] | None  # (dim,); None is a gradient-descent minimum
    changes: list[tuple[int, Settings]]  # the settings from each step on; the first step is 0
    steps: int  # if the run diverged, including the step at which it did
    end: str  # digest of the last iterate
    origin: str  # version, engine and device that computed it


def share_text(session: Session, problem: Problem) -> str:
    """Return the text of a session's run on a problem, given in its original precision."""
    run, x0 = session.run, session.x0
    if (call := problem_call(problem)) is None:
        raise ValueError(
            f"{problem.name} cannot be shared as text; expected an mlp(...) on a data set of samviz, valley() or a "
            f"quadratic(...) of at most {MAX_NUMBERS} numbers: {REMEDY}"
        )
    if x0 is not None and len(x0) > MAX_NUMBERS:
        raise ValueError(f"x0 has {len(x0)} numbers; a text can hold at most {MAX_NUMBERS}: {REMEDY}")
    values = [  # the arguments of `_checked` after the version, without their names, which would lengthen the text
        call,
        str(run.x.dtype).removeprefix("torch."),
        run.seed,
        None if x0 is None else x0.tolist(),
        [[step, *_short(settings)] for step, settings in run.changes],
        int(run.diverged_at[0]) + 1 if run.diverged_at[0] >= 0 else run.steps,
        digest(run.x)[:8],
        f"{run.engine} {run.x.device.type}",  # rounding may depend on them
    ]
    packed = zlib.compress(json.dumps(values, separators=(",", ":")).encode(), 9)
    text = f"{FORMAT}:{__version__}:{b64encode(packed).decode().rstrip('=')}"
    read(text)  # raise now if it could not be loaded
    return text


def _titled(step: int, s: Settings, samples: int) -> dict[str, str]:
    """Return the settings from a step on as texts, by the titles of the columns of a page."""
    return {
        "from step": f"{step:,}",
        "rule": RULES[s.rule].label,
        "η": f"{s.lr:g}",
        "ρ": f"{s.rho:g}",
        "batch size": str(s.batch_size or samples or "–"),
        "momentum β": f"{s.momentum:g}",
        "weight decay κ": f"{s.weight_decay:g}",
        "m": str(s.micro_batch or "–"),
        "decay δ": f"{s.lr_decay:g}",
        "loss": s.loss_name or "–",
    }


def _short(settings: Settings) -> list[Any]:
    """Return the settings as values, without those from momentum on if all of them are 0 or None."""
    values = [*settings.row().values()]
    return values if any(values[4:]) else values[:4]


def read(text: str) -> Shared:
    """Return the run that a text describes, without computing it; spaces and line breaks are ignored."""
    check_type("text", text, str, "the text that lab.share() returns")
    head, _, rest = "".join(text.split()).partition(":")
    version, _, body = rest.partition(":")
    if not (head.startswith("samviz") and head[6:].isdecimal()) or not body:
        raise ValueError(f"text is {text[:40]!r}; expected one from lab.share(), which begins with '{FORMAT}:'")
    if head != FORMAT:
        raise ValueError(
            f"text has the format {head[:20]}, written by samviz {version[:20]}; this is samviz {__version__}, which "
            f"reads {FORMAT}: pip install -U samviz"
        )
    try:
        if len(body) > MAX_TEXT:
            raise ValueError(f"it has {len(body):,} letters; expected at most {MAX_TEXT:,}")
        unzip = zlib.decompressobj()
        content = unzip.decompress(b64decode(body + "=" * (-len(body) % 4), validate=True), MAX_JSON)
        if not unzip.eof or unzip.unused_data:
            raise ValueError("it is cut short, or too long")
        return _checked(version[:20], *json.loads(content))
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, zlib.error) as error:
        raise ValueError(f"text contains no run ({error}); copy all of it, from '{FORMAT}:' to its end") from error


def check_same_problem(shared: Shared, text: str, problem: Problem, dtype: torch.dtype) -> None:
    """Raise an error with the call that makes the right lab, unless a lab has the problem of a shared run."""
    precision = str(dtype).removeprefix("torch.")
    if (shared.problem_call, shared.dtype) != (problem_call(problem), precision):
        name, *arguments = shared.problem_call
        raise ValueError(
            f"text is for {name}({', '.join(map(repr, arguments))}) in {shared.dtype}, this lab is for {problem.name} "
            f'in {precision}; run in a cell: Lab.from_share("{"".join(text.split())}")'
        )


def replayed(session: Session, shared: Shared) -> Generator[Progress, None, Session]:
    """Return a new session at the end of a shared run on the same problem; the run of `session` becomes its ghost."""
    x0 = None if shared.x0 is None else session.problem.points(shared.x0, "x0")[0]
    again = yield from session.restarted(shared.changes[0][1], shared.seed, x0)
    again.choose_plane(session.plane)
    for _ in retake(again, shared.changes, round_steps(shared.steps, ROWS), live=True):
        yield again.run.steps / max(shared.steps, 1), "replaying the shared run"
    if digest(again.run.x)[:8] != shared.end:
        again.notice = (
            f"The same settings led to a different iterate: the text is from samviz {shared.origin}, this is samviz "
            f"{__version__} {again.run.engine} {session.problem.device.type}. Runs are bit-for-bit identical "
            "only with the same version, engine and processor."
        )
    yield from again.follow(session)
    return again


def problem_call(problem: Problem) -> list[Any] | None:
    """Return the function in samviz.problems that makes a problem, and its arguments; None if they are not short."""
    if type(problem) is MLP and problem.data_name in DATASETS and problem.loss_name in LOSSES:
        return ["mlp", list(problem.widths), problem.activation, problem.data_name, problem.loss_name]
    if type(problem) is Valley:
        return ["valley", problem.scale == 0.5]
    if type(problem) is Quadratic:
        matrix = problem.matrices[0] if len(problem.matrices) == 1 else problem.matrices
        entries = matrix.diagonal() if matrix.ndim == 2 and bool((matrix == matrix.diagonal().diag()).all()) else matrix
        if entries.numel() <= MAX_NUMBERS:
            return ["quadratic", entries.tolist()]
    return None


def _make_problem(call: Any) -> Problem:
    """Return the problem of a call, after a check of its size."""
    match call:
        case ["mlp", [*widths], str() as activation, str() as data, str() as loss]:
            sizes = [check_int("widths", width, "integers of 1 or more", 1, MAX_PARAMETERS) for width in widths]
            if sum((i + 1) * o for i, o in pairwise(sizes)) > MAX_PARAMETERS:
                raise ValueError(f"widths is {sizes[:9]}; expected a network of at most {MAX_PARAMETERS:,} parameters")
            return mlp(sizes, activation, data, loss)
        case ["quadratic", [*spectrum]] if np.size(spectrum) <= MAX_NUMBERS:
            return quadratic(spectrum)
        case ["valley", bool() as mean]:
            return valley(mean)
    raise ValueError(f"problem is {str(call)[:60]}; expected mlp, valley or quadratic with up to {MAX_NUMBERS} numbers")


def _checked(
    version: str, call: Any, dtype: Any, seed: Any, x0: Any, settings: Any, steps: Any, end: Any, platform: Any
) -> Shared:
    """Return the run that the JSON of a text describes, after a check of every value."""
    problem = _make_problem(call)
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype is {str(dtype)[:40]!r}; expected float64 or float32")
    if x0 is not None:
        problem.points(x0, "x0")
    steps = check_int("steps", steps, f"0 to {MAX_STEPS:,} steps", 0, MAX_STEPS + 1)  # one more if that diverged
    seed = check_seed(seed)
    changes = []
    for step, rule, lr, rho, *more in settings:
        if not isinstance(lr, float | int) or not isinstance(rho, float | int):
            raise TypeError(f"lr is {str(lr)[:40]}, rho is {str(rho)[:40]}; expected a number each")
        changes.append((check_int("step", step, "an integer", 0), Settings(rule, lr, rho, *more).fit(1, problem)))
    order = [step for step, _ in changes]
    if order[0] != 0 or order[-1] > steps or order != sorted(set(order)):
        raise ValueError(f"settings change at steps {str(order)[:60]}; expected 0 first, then later ones up to {steps}")
    return Shared(problem, call, dtype, seed, x0, changes, steps, str(end)[:8], f"{version} {str(platform)[:40]}")
