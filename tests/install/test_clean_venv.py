"""A new user's first minutes: the wheel in a new environment, with nothing of this tree on its path."""

import json
import os
import subprocess
import sys
import urllib.request

import pytest
from fresh import ROOT
from serving import free_port, served

pytestmark = [pytest.mark.install, pytest.mark.timeout(1500)]


def run(*command, **options):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=1400, **options)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the wheel installed in `venv`, with the extra lab."""
    place = tmp_path_factory.mktemp("user")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = place.glob("*.whl")
    assert run(sys.executable, "-m", "venv", place / "venv").returncode == 0
    pip = [bin_of(place) / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
    installed = run(*pip, f"{wheel}[lab]", cwd=place, env=clean())
    assert installed.returncode == 0, installed.stderr
    return place


def bin_of(place):
    return place / "venv" / ("Scripts" if os.name == "nt" else "bin")


def clean():
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_doctor_finds_it_well(place):
    found = run(bin_of(place) / "samviz", "doctor", cwd=place, env=clean())
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.rstrip().endswith("The lab can run here.")


def test_the_paper_is_verified(place):
    found = run(bin_of(place) / "samviz", "verify", "--quick", "--json", cwd=place, env=clean())
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr
    claims = json.loads(found.stdout)["claims"]
    assert len(claims) >= 25


def test_the_lab_serves_its_notebooks(place):
    port = free_port()
    settings = clean() | {
        "JUPYTER_CONFIG_DIR": str(place / "config"),
        "JUPYTER_TOKEN": "word",
        "JUPYTER_PORT": str(port),
    }

    def ask():
        address = f"http://127.0.0.1:{port}/api/contents/00_start_here.ipynb?token=word"
        return json.load(urllib.request.urlopen(address, timeout=20))

    command = [bin_of(place) / "samviz", "lab", "--no-browser"]
    with served(command, place / "log", ask, 120, cwd=place, env=settings):
        assert ask()["content"]["cells"]
