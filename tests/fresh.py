"""Run Python in a new process, with the samviz that is under test, and read the texts of the repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python(*arguments, env=None, **options):
    """Run Python with these arguments and additional environment variables; capture its output as text."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"} | (env or {}),
        capture_output=True,
        check=False,
        **({"timeout": 250, "encoding": "utf-8"} | options),
    )


def repository_texts(*patterns):
    """Yield the name and the text of each file that git tracks or would track, of those that match a pattern."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.decode().split("\n")[:-1]:
        path = ROOT / name
        if path.suffix not in {".npz", ".png", ".webp"} and path.is_file():
            yield name, path.read_text(encoding="utf-8")
