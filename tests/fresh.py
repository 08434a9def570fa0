"""Run Python in a new process, with the samviz that is under test."""

import os
import subprocess
import sys
from pathlib import Path

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
