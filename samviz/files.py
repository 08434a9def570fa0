"""Files that are there whole or not at all, whenever the process that writes them is killed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import time
from uuid import uuid4

ABANDONED_S = 3600.0  # a temporary file this old was left by a writer that was killed: a write takes seconds


def write(file: Path, content: bytes) -> Path:
    """Put a file in its place, or leave what is there as it is.

    Several writers of one file do not disturb each other; the last one to finish wins.

    Args:
        file: where; its folder is there.
        content: all of it.

    Returns:
        The file.

    Raises:
        OSError: when it cannot be written; then nothing has changed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write(Path(folder) / "note.txt", b"whole").read_bytes()
    b'whole'
    """
    part = file.with_name(f"{file.name}.{uuid4().hex}.part")  # a name of its own for every writer
    try:
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # or a power cut could leave the new name on no content
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return file


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that killed writers have left in a folder more than an hour ago.

    Args:
        folder: where files were written.
    """
    for part in folder.glob("*.part"):
        with suppress(FileNotFoundError):  # another process may remove it at the same time
            if time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink()
