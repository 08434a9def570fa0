"""samviz opens no connection to another host."""

import pytest
from fresh import python

pytestmark = pytest.mark.slow

NO_CONNECTIONS = """
import sys
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        address = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        if (address[0] if isinstance(address, tuple) else address) not in LOOPBACK:
            raise PermissionError(f"{event} {arguments}")
sys.addaudithook(refuse)
"""
USES = {
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
    "claims": "from samviz.verify import run_claims\nassert run_claims(['two_cycle'], quick=True) == 0",
    "the doctor": "from samviz.doctor import doctor\ndoctor()",
}


@pytest.mark.parametrize("use", USES)
def test_no_connection_is_opened(use):
    """Slow: each case imports the package in a new interpreter."""
    result = python("-c", NO_CONNECTIONS + USES[use], env={"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr[-2000:]


def test_a_connection_would_be_detected():
    code = "import socket; socket.create_connection(('203.0.113.1', 80), timeout=1)"
    assert "PermissionError" in python("-c", NO_CONNECTIONS + code).stderr
