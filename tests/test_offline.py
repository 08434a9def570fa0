"""Nothing leaves the machine: samviz opens no connection, whatever of it is run."""

import pytest
from fresh import python

pytestmark = pytest.mark.slow

CLOSED = """
import sys
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
def closed(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        place = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        host = place[0] if isinstance(place, tuple) else place
        if host not in LOOPBACK:
            raise PermissionError(f"{event} {arguments}")
sys.addaudithook(closed)
"""
RUNS = {
    "every module": """
import importlib, pkgutil, samviz
for found in pkgutil.walk_packages(samviz.__path__, "samviz."):
    if not found.name.startswith("samviz.notebooks"):
        importlib.import_module(found.name)
""",
    "the lab and its page": """
import tempfile
from samviz.lab import Lab
from samviz.panels import cycle_panel
from samviz.problems import mlp
lab = Lab(mlp([1, 24, 24, 1], data="sine"), rho=0.01, device="cpu").run(40)
with tempfile.TemporaryDirectory() as folder:
    lab.export(f"{folder}/run.html", frames=3)
cycle_panel().static()
""",
    "claims": """
from samviz.verify import run_claims
assert run_claims(["two_cycle"], quick=True) == 0
""",
    "the doctor": """
from samviz.doctor import doctor
doctor()
""",
}


def closed(code):
    return python("-c", CLOSED + code, env={"OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("what", RUNS)
def test_opens_no_connection(what):
    """Slow: each case imports the package and runs it in an interpreter of its own."""
    result = closed(RUNS[what])
    assert result.returncode == 0, result.stderr[-2000:]


def test_would_see_one():
    result = closed("import socket; socket.create_connection(('203.0.113.1', 80), timeout=1)")
    assert "PermissionError" in result.stderr
