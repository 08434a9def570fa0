"""Python in a process of its own, with the samviz that is under test."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(*arguments, env=None, **options):
    """Run Python with these arguments, and with more in its environment; what it printed is captured as text."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"} | (env or {}),
        capture_output=True,
        check=False,
        **({"timeout": 250, "encoding": "utf-8"} | options),
    )
