"""What CI installs: pinned files by their hashes, under licences that let anybody teach with them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"(?P<pin>\S+==\S+) --hash=sha256:[0-9a-f]{64}  # (?P<licence>\S.*)")
FREE = re.compile(r"\b(MIT|BSD|Apache|Apache-2\.0|MPL|MPL-2\.0|PSF|PSF-2\.0|Python Software Foundation|ISC|0BSD)\b")


def listed(path):
    return [line for line in (ROOT / path).read_text().splitlines() if line and not line.startswith("#")]


def test_each_pin_has_the_hash_of_its_file_and_a_licence():
    lines = [LINE.fullmatch(line) for line in listed(".ci/requirements.txt")]
    assert all(lines)
    assert [line["pin"] for line in lines] == listed("constraints.txt"), "run .venv/bin/python .ci/pin.py"
    assert not [line["pin"] for line in lines if not FREE.search(line["licence"])]


def test_ci_installs_nothing_without_its_hash():
    installs = [line for line in (ROOT / ".ci/run").read_text().splitlines() if "pip install" in line]
    assert installs
    for line in installs:
        assert "--no-deps" in line
        assert "--require-hashes" in line or "--no-build-isolation -e ." in line
