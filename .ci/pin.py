"""Write requirements.txt: each pin of constraints.txt with the hash of the very file that pip takes, and its licence.

After a change of constraints.txt, run it on the system that CI runs on, Linux, x86_64 and Python 3.11:
.venv/bin/python .ci/pin.py
"""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHOOSE = ["install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--report", "-"]
UNSAID = {"axe-playwright-python": "MIT"}  # in its LICENSE, not in its metadata


def licence(name: str) -> str:
    """What an installed package says of its licence: an expression, classifiers, or the first words of the text."""
    metadata = importlib.metadata.metadata(name)
    said = metadata.get_all("Classifier", [])
    classified = [each.split(" :: ")[-1] for each in said if each.startswith("License ::")]
    words = metadata.get("License-Expression") or ", ".join(classified) or metadata.get("License") or UNSAID[name]
    return " ".join(words.split())[:60]


def main() -> None:
    """Ask pip, and write what it says."""
    lines = (HERE.parent / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    asked = subprocess.run([sys.executable, "-m", "pip", *CHOOSE, *pins], stdout=subprocess.PIPE, check=True)
    rows = ["# Made by .ci/pin.py from constraints.txt for Linux, x86_64, Python 3.11; the comments are the licences."]
    for pin, found in zip(pins, json.loads(asked.stdout)["install"], strict=True):
        name = found["metadata"]["name"]
        digest = found["download_info"]["archive_info"]["hashes"]["sha256"]
        rows.append(f"{pin} --hash=sha256:{digest}  # {licence(name)}")
    (HERE / "requirements.txt").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
