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


def test_each_action_of_a_workflow_is_pinned_to_a_commit():
    """A tag may be moved to other code; one action has one commit everywhere."""
    used = [line for path in (ROOT / ".github/workflows").glob("*.yml") for line in listed(path) if "uses:" in line]
    pinned = [re.search(r"uses: ([\w./-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+$", line) for line in used]
    assert used
    assert all(pinned), used
    assert len({found[1] for found in pinned}) == len({found.groups() for found in pinned})
