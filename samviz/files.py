"""Files that are there whole or not at all, whenever the process that writes them is killed."""

from __future__ import annotations

import os
from pathlib import Path


def write(file: Path, content: bytes) -> Path:
    """Put a file in its place, or leave what is there as it is.

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
    part = file.with_name(f"{file.name}.part")  # the same name each time: kills leave one at most
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # or a power cut could leave the new name on no content
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return file
