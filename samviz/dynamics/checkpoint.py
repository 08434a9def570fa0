"""A sweep on disk: a manifest that says what is swept, and one file for every finished row."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
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
UNREADABLE = (OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
NAMES = "names of the arrays"  # an array of its own: a damaged directory of a zip file may leave some out
RECORD = "row of the sweep"  # an array of its own: says which row of which sweep a file holds


class Checkpoint:
    """A folder that belongs to one sweep; nothing in it is ever unpickled."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Open the folder of the sweep that the manifest describes; `begin` writes the manifest.

        Args:
            folder: made where it is not there.
            manifest: plain numbers, strings and lists; those of an earlier call must be the same.

        Raises:
            ValueError: when the folder holds another sweep, with what differs.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        manifest = json.loads(json.dumps({"samviz": __version__} | manifest))  # tuples become lists
        self.manifest, self.sweep = manifest, digest(json.dumps(manifest, sort_keys=True))
        file = folder / "manifest.json"
        if not file.exists():
            return
        try:
            there = dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{file} is no manifest of a sweep; choose another path, or delete that folder") from error
        changed = [name for name in {**there, **manifest} if there.get(name) != manifest.get(name)]
        if changed:
            told = "; ".join(f"{name} was {there.get(name)}, now {manifest.get(name)}" for name in changed)
            raise ValueError(f"path {str(folder)!r} holds another sweep: {told}. Choose another path for this one")

    def begin(self) -> None:
        """Write the manifest where there is none: after the rows that are there have been found to belong to it."""
        if not (file := self.folder / "manifest.json").exists():
            write(file, json.dumps(self.manifest, indent=1).encode())

    def load(self, number: int, runs: int) -> Arrays | None:
        """A finished row.

        Args:
            number: of the row.
            runs: how many it has.

        Returns:
            Its arrays, (runs, ...) each; None where there is none, or its file is damaged or does not say which row
            of which sweep it holds, as the files of early versions: such a row has to be computed again.

        Raises:
            ValueError: when the file holds another row, or one of another sweep.
        """
        file = self._file(number)
        try:
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}  # reading checks the sums of the zip file
            found = str(arrays.pop(RECORD))
            whole = list(arrays.pop(NAMES)) == list(arrays)
        except UNREADABLE:
            return None
        if found != self._record(number):
            raise ValueError(
                f"{file} is {found:.100}; expected {self._record(number)}: delete that file to have the row computed "
                "again, or choose another path for this sweep"
            )
        return arrays if whole and all(array.shape[:1] == (runs,) for array in arrays.values()) else None

    def save(self, number: int, arrays: Arrays) -> None:
        """Keep a finished row: all of it or, when the process is killed meanwhile, nothing.

        Args:
            number: of the row.
            arrays: its arrays.
        """
        content = io.BytesIO()
        described = {NAMES: np.array(list(arrays)), RECORD: np.array(self._record(number))}
        np.savez(content, **arrays, **described)  # type: ignore[arg-type]
        write(self._file(number), content.getvalue())

    def _record(self, number: int) -> str:
        return f"row {number} of sweep {self.sweep}"

    def _file(self, number: int) -> Path:
        return self.folder / f"row_{number:05d}.npz"


def fingerprint(problem: Problem) -> str:
    """A digest of the numbers that make a problem: its tensors, and its loss at one point.

    The loss, to four digits, tells two functions of the same tensors apart.

    Args:
        problem: any.

    Returns:
        Hexadecimal digits, the same on every machine.
    """
    probe = problem.initial(0) + torch.linspace(-0.1, 0.1, problem.dim).to(problem.device, problem.dtype)
    parts: list[Any] = [type(problem).__qualname__, f"{float(problem.loss(probe[None])):.4g}"]
    for name, value in sorted(vars(problem).items()):
        if isinstance(value, nn.Module):
            parts += [name, repr(value), *value.state_dict().values()]
        elif isinstance(value, Tensor | np.ndarray | str | int | float) and not name.startswith("_"):
            parts += [name, value]
    return digest(*parts)


def digest(*parts: Any) -> str:
    """Hexadecimal digits that stand for tensors, arrays, numbers and strings."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor | np.ndarray):
            array = part.detach().cpu().numpy() if isinstance(part, Tensor) else part
            total.update(f"{array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
        else:
            total.update(f"{part!r}\n".encode())
    return total.hexdigest()[:16]
