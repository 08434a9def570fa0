"""A sweep on disk: one npz file for every finished row, which contains a description of the sweep."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samviz import __version__
from samviz.files import remove_abandoned, write
from samviz.problems import Problem

Arrays = dict[str, NDArray[Any]]
UNREADABLE = (OSError, EOFError, KeyError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
NUMBER, DESCRIPTION = "number of the row", "description of the sweep"  # names of arrays in a row's file


def save_row(folder: Path, sweep: dict[str, Any], number: int, arrays: Arrays) -> None:
    """Write a finished row of the sweep that has this description; a killed process leaves no incomplete file."""
    content = io.BytesIO()
    description = json.dumps({"samviz": __version__} | sweep)
    np.savez(content, **arrays, **{NUMBER: np.array(number), DESCRIPTION: np.array(description)})  # type: ignore[arg-type]
    write(folder / f"row_{number:05d}.npz", content.getvalue())


def load_rows(folder: Path, sweep: dict[str, Any], names: Iterable[str]) -> dict[int, Arrays]:
    """Return the named arrays of the finished rows by number, without damaged files. Nothing is ever unpickled.

    Raise ValueError if a row belongs to a sweep with a different description.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    now, rows = json.loads(json.dumps({"samviz": __version__} | sweep)), {}  # tuples become lists, as in the file
    for file in folder.glob("row_*.npz"):
        try:
            with np.load(file, allow_pickle=False) as stored:
                before, number = dict(json.loads(str(stored[DESCRIPTION]))), int(stored[NUMBER])
                rows[number] = {name: stored[name] for name in names}  # reading verifies the checksums
        except UNREADABLE:
            continue
        if changed := [name for name in now if before.get(name) != now[name]]:
            changes = "; ".join(f"{name} was {before.get(name)}, now {now[name]}" for name in changed)
            raise ValueError(f"path {str(folder)!r} holds another sweep: {changes}. Choose another path for this one")
    return rows


def problem_digest(problem: Problem) -> str:
    """Return a digest of a problem's tensors, and of its loss at one point to four digits.

    The loss distinguishes two functions of the same tensors; its rounding makes the digest the same on every machine.
    """
    point = problem.initial(0) + torch.linspace(-0.1, 0.1, problem.dim).to(problem.device, problem.dtype)
    parts: list[Any] = [type(problem).__qualname__, f"{float(problem.loss(point[None])):.4g}"]
    for name, value in sorted(vars(problem).items()):
        if isinstance(value, nn.Module):
            parts += [name, repr(value), *value.state_dict().values()]
        elif isinstance(value, Tensor | np.ndarray | str | int | float) and not name.startswith("_"):
            parts += [name, value]
    return digest(*parts)


def digest(*parts: Any) -> str:
    """Return sixteen hexadecimal digits of a hash of tensors, arrays, numbers and strings."""
    total = hashlib.sha256()
    for part in parts:
        array = np.ascontiguousarray(part.detach().cpu() if isinstance(part, Tensor) else part)
        total.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return total.hexdigest()[:16]
