"""Fixtures of several test modules."""

import importlib.util
import os
import re
from pathlib import Path

import pytest
from fresh import ROOT, python
from hypothesis import settings
from threadpoolctl import threadpool_limits

settings.register_profile("samviz", settings(), deadline=None)  # a busy machine may take any time for an example
settings.load_profile("samviz")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two threads beside a busy neighbour are many times slower than one, at these sizes."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def network():
    """The 1-24-24-1 network on the sine, too large to be diagonalized, and gradient descent's minimum of it."""
    from samviz.dynamics import gradient_descent_minimum
    from samviz.problems import mlp

    problem = mlp([1, 24, 24, 1], "tanh", "sine")
    return problem, gradient_descent_minimum(problem)


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The book with few pictures; SAMVIZ_BOOK names one that was built before."""
    if built := os.environ.get("SAMVIZ_BOOK"):
        return Path(built)
    out = tmp_path_factory.mktemp("book") / "out"
    ran = python(ROOT / "notebooks/book/build.py", out, "--coarse", timeout=None)
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r".*index\.html: [\d.]+ MB, \d+ pictures behind sliders, \d+ s\n", ran.stdout)
    return out


@pytest.fixture(scope="session")
def secret():
    """The module that makes the book's moving picture."""
    spec = importlib.util.spec_from_file_location("secret", ROOT / "notebooks/book/secret.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
