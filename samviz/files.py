"""Atomic files: a process that is killed while it writes leaves the old file or the complete new one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import time
from uuid import uuid4

ABANDONED_S = 3600.0  # a write takes seconds: a temporary file of this age belongs to a process that was killed


def file_in_existing_folder(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file; raise FileNotFoundError unless its folder exists."""
    file = Path(path)
    if not file.parent.is_dir():
        raise FileNotFoundError(f"path is {str(file)!r}, but there is no folder {str(file.parent)!r}; make it first")
    return file


def write(file: Path, content: bytes) -> Path:
    """Create or replace a file in an existing folder, also while other processes do; an OSError changes nothing."""
    part = file.with_name(f"{file.name}.{uuid4().hex}.part")  # a different name for every writer
    try:
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # otherwise a power cut could leave the new name without its content
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return file


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder more than an hour ago."""
    for part in folder.glob("*.part"):
        with suppress(FileNotFoundError):  # a different process may remove it at the same time
            if time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink()
