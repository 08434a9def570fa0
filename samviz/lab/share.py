"""A lab's run as one line of text, and that line as the same run again.

After a head in clear, `samviz1:` and the version of samviz, comes JSON, packed by zlib (whose sum tells a damaged text)
and written in base64's plain alphabet (chats take `_` and `*` for marks). Nothing in it is ever evaluated.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from samviz import __version__
from samviz.checks import check_int
from samviz.dynamics import Settings
from samviz.dynamics.checkpoint import digest
from samviz.lab.record import stops
from samviz.lab.session import Session
from samviz.problems import Problem, mlp, quadratic, valley
from samviz.problems.data import DATASETS
from samviz.problems.mlp import MLP
from samviz.problems.network import LOSSES
from samviz.problems.quadratic import Quadratic
from samviz.problems.valley import Valley

FORMAT = "samviz1"
STEPS, PARAMETERS, NUMBERS = 10**7, 10**5, 64  # at most, of a run; of a network; of a start or a quadratic
LETTERS, PLAIN = 2**16, 2**20  # at most, of a text and of the JSON in it
ROWS = 100  # measurements of a replayed run, about
REMEDY = "share a picture by lab.export('run.html'), or code that makes the problem and lab.session.run.state_dict()"


@dataclass(frozen=True)
class Shared:
    """What a shared text tells of a run."""

    problem: Problem
    name: list[Any]  # what makes the problem, and its arguments: plain values
    dtype: str  # "float64" or "float32"
    seed: int
    x0: list[float] | None  # (dim,); None is a gradient-descent minimum
    changes: list[tuple[int, Settings]]  # from which step on; the first is 0
    steps: int  # to take; of a run that diverged one more, the one at which it did
    end: str  # digest of the last iterate
    by: str  # version, engine and device that made it


def share_text(session: Session, problem: Problem) -> str:
    """The text of a session's run.

    Args:
        session: whose run it is.
        problem: its problem in its first precision.

    Returns:
        One line, of less than 200 letters where few settings were changed.

    Raises:
        ValueError: when the problem or the start cannot be told in a few numbers, or the run is too long.

    >>> from samviz.problems import valley
    >>> text = share_text(Session(valley(), Settings("sam", 0.01, 0.1), 0, None), valley())
    >>> text[:8], read(text).name, read(text).seed
    ('samviz1:', ['valley', False], 0)
    """
    run = session.run
    x0 = session.x0
    if x0 is not None and len(x0) > NUMBERS:
        raise ValueError(f"x0 has {len(x0)} numbers; a text takes at most {NUMBERS}: {REMEDY}")
    plain = [  # as `Shared`, without the keys that each text would carry along
        named(problem),
        _plain(session.problem.dtype),
        run.seed,
        None if x0 is None else x0.tolist(),
        [[step, s.rule, s.lr, s.rho, s.batch_size] for step, s in run.changes],
        int(run.diverged_at[0]) + 1 if run.diverged_at[0] >= 0 else run.steps,
        digest(run.x)[:8],
        _made(session),
    ]
    packed = zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 9)
    text = f"{FORMAT}:{__version__}:{b64encode(packed).decode().rstrip('=')}"
    read(text)  # what could not be loaded is not given out
    return text


def read(text: str) -> Shared:
    """What a shared text tells; nothing is computed yet.

    Args:
        text: from `share_text`; spaces and line breaks do not matter.

    Returns:
        The run that it describes.

    Raises:
        TypeError: when text is no string.
        ValueError: when it is damaged, of another format, or asks for too much.
    """
    if not isinstance(text, str):
        raise TypeError(f"text is {text!r}; expected the text that lab.share() gives")
    head, _, rest = "".join(text.split()).partition(":")
    version, _, body = rest.partition(":")
    if not (head.startswith("samviz") and head[6:].isdecimal()) or not body:
        raise ValueError(f"text is {text[:40]!r}; expected one from lab.share(), which begins with '{FORMAT}:'")
    if head != FORMAT:
        raise ValueError(
            f"text is of the format {head[:20]}, written by samviz {version[:20]}; this is samviz {__version__}, which "
            f"reads {FORMAT}: pip install -U samviz"
        )
    try:
        return _checked(version[:20], *_unpacked(body))
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, zlib.error) as error:
        raise ValueError(f"text holds no run ({error}); copy all of it, from '{FORMAT}:' to its end") from error


def refuse_other(shared: Shared, text: str, problem: Problem, dtype: torch.dtype) -> None:
    """Raise where a shared run is of another problem than a lab's.

    Args:
        shared: what the text tells.
        text: the text itself.
        problem: the lab's, in its first precision.
        dtype: the lab's precision.

    Raises:
        ValueError: with the call that makes the lab of the text.
    """
    try:
        same = shared.name == named(problem) and shared.dtype == _plain(dtype)
    except ValueError:  # it has no name, and so no text is of it
        same = False
    if not same:
        made = f"{shared.name[0]}({', '.join(map(repr, shared.name[1:]))})"
        raise ValueError(
            f"text is of {made} in {shared.dtype}, this lab of {problem.name} in {_plain(dtype)}; run in a cell: "
            f'Lab.from_share("{"".join(text.split())}")'
        )


def replayed(session: Session, shared: Shared) -> Generator[None, None, Session]:
    """Take a shared run's steps in a session of its own.

    Args:
        session: of the same problem; its run becomes the ghost, and its `progress` tells how far this is.
        shared: the run.

    Yields:
        Nothing, between pieces of about 5 ms.

    Returns:
        The other session, at the end of the run; its notice says so where that is not the iterate that was shared.
    """
    problem = session.problem
    x0 = None if shared.x0 is None else problem.points(shared.x0, "x0")[0]
    minimum = (yield from session.minimum(shared.seed)) if x0 is None else None
    again = Session(problem, shared.changes[0][1], shared.seed, x0, minimum)
    again.scene.kind = session.scene.kind
    changes, measured = dict(shared.changes), set(stops(shared.steps, ROWS))
    for end in sorted({*measured, *changes}):
        yield from again.advance(end - again.run.steps)
        if again.stopped:
            break
        if end in measured:
            again.measure()
        again.run.settings = changes.get(end, again.run.settings)
        session.progress = end / max(shared.steps, 1), "replaying the shared run"
        yield
    if digest(again.run.x)[:8] != shared.end:
        again.notice = (
            f"The same settings led to another iterate: the text is from samviz {shared.by}, this is samviz "
            f"{__version__} {_made(again)}. Runs are equal bit for bit where version, engine and processor are."
        )
    yield from session.succeeded(again)
    return again


def named(problem: Problem) -> list[Any]:
    """What makes a problem, and its arguments, as plain values.

    Args:
        problem: any.

    Returns:
        The name of a function in `samviz.problems`, and what it is given.

    Raises:
        ValueError: when it is not made by a few plain values.

    >>> named(mlp([1, 24, 24, 1]))
    ['mlp', [1, 24, 24, 1], 'tanh', 'sine', 'mse']
    """
    if type(problem) is MLP and problem.data_name in DATASETS and problem.loss_name in LOSSES:
        return ["mlp", list(problem.widths), problem.activation, problem.data_name, problem.loss_name]
    if type(problem) is Valley:
        return ["valley", problem.scale == 0.5]
    if type(problem) is Quadratic:
        one = problem.matrices[0] if len(problem.matrices) == 1 else problem.matrices
        numbers = one.diagonal() if one.ndim == 2 and bool((one == one.diagonal().diag()).all()) else one
        if numbers.numel() <= NUMBERS:
            return ["quadratic", numbers.tolist()]
    raise ValueError(
        f"{problem.name} cannot be told in a text; expected an mlp(...) on a data set of samviz, valley() or a "
        f"quadratic(...) of at most {NUMBERS} numbers: {REMEDY}"
    )


def _built(name: Any) -> Problem:
    """The problem that a name stands for; sizes are looked at before anything is made of them."""
    match name:
        case ["mlp", [*widths], str() as activation, str() as data, str() as loss]:
            sizes = [check_int("widths", width, "integers of 1 or more", 1, PARAMETERS) for width in widths]
            if sum((i + 1) * o for i, o in pairwise(sizes)) > PARAMETERS:
                raise ValueError(f"widths is {sizes[:9]}; expected a network of at most {PARAMETERS:,} parameters")
            return mlp(sizes, activation, data, loss)
        case ["quadratic", [*spectrum]] if np.size(spectrum) <= NUMBERS:
            return quadratic(spectrum)
        case ["valley", bool() as mean]:
            return valley(mean)
    raise ValueError(f"problem is {str(name)[:60]}; expected mlp, valley or quadratic with up to {NUMBERS} numbers")


def _unpacked(body: str) -> Any:
    """The JSON of a text."""
    if len(body) > LETTERS:
        raise ValueError(f"it has {len(body):,} letters; expected at most {LETTERS:,}")
    unzip = zlib.decompressobj()
    content = unzip.decompress(b64decode(body + "=" * (-len(body) % 4), validate=True), PLAIN)
    if not unzip.eof or unzip.unused_data:
        raise ValueError("it is cut short, or too long")
    return json.loads(content)


def _checked(
    version: str, name: Any, dtype: Any, seed: Any, x0: Any, knobs: Any, steps: Any, end: Any, by: Any
) -> Shared:
    """What the JSON of a text tells."""
    problem = _built(name)
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype is {str(dtype)[:40]!r}; expected float64 or float32")
    if x0 is not None:
        problem.points(x0, "x0")
    steps = check_int("steps", steps, f"0 to {STEPS:,} steps", 0, STEPS + 1)
    seed = check_int("seed", seed, "an integer of 0 or more, below 2⁶²", 0, 2**62)
    changes = []
    for step, rule, lr, rho, size in knobs:
        if not isinstance(lr, float | int) or not isinstance(rho, float | int):
            raise TypeError(f"lr is {str(lr)[:40]}, rho is {str(rho)[:40]}; expected a number each")
        changes.append((check_int("step", step, "an integer", 0), Settings(rule, lr, rho, size).fit(1, problem)))
    order = [step for step, _ in changes]
    if order[0] != 0 or order[-1] > steps or order != sorted(set(order)):
        raise ValueError(f"settings change at steps {str(order)[:60]}; expected 0 first, then later ones up to {steps}")
    return Shared(problem, name, dtype, seed, x0, changes, steps, str(end)[:8], f"{version} {str(by)[:40]}")


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _made(session: Session) -> str:
    """What may round otherwise elsewhere."""
    return f"{session.run.engine} {session.problem.device.type}"
