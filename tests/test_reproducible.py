"""The numbers of a run and the released files are the same bit for bit in two attempts."""

import os
import tarfile

import pytest
from fresh import ROOT, python

NUMBERS = """
import hashlib, torch
from samviz.dynamics import Run
from samviz.geometry import hessian_trace, landscape, top_eigenpairs
from samviz.problems import from_module, mlp
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
inputs = torch.randn(12, 2, generator=torch.Generator().manual_seed(1))
total = hashlib.sha256()
for problem in (mlp([2, 16, 1], data="spirals"), from_module(net, (inputs, inputs.prod(1, keepdim=True)))):
    run = Run(problem, rule="sam", lr=0.05, rho=0.02, batch_size=4, seed=3, device="cpu")
    run.step(60)
    run.measure()
    run.set(rho=0.05, batch_size=None)
    run.step(60)
    run.measure()
    traced = hessian_trace(problem, run.x)
    for tensor in (run.x, top_eigenpairs(problem, run.x, k=2).values, traced.value, landscape(problem, run.x[0]).loss):
        total.update(torch.as_tensor(tensor).double().numpy().tobytes())
    for row in run.history.rows:
        total.update(repr([(name, value) for name, value in row.items() if name != "seconds"]).encode())
print(total.hexdigest())
"""


def output_of(*arguments, **options):
    result = python(*arguments, **options)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


def test_two_processes_give_the_same_bits():
    """Slow: it starts two interpreters, since within one process the order of sets and dicts would stay the same."""
    first, second = (output_of("-c", NUMBERS, env={"PYTHONHASHSEED": seed}) for seed in "12")
    assert first == second


def build(tree, into):
    output_of("-m", "hatchling", "build", "-d", into, "-t", "sdist", "-t", "wheel", cwd=tree)
    return {path.suffix: path for path in into.iterdir()}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Build wheel and sdist of the tree, and again of the unpacked sdist, in another folder and with other times."""
    folder = tmp_path_factory.mktemp("released")
    first = build(ROOT, folder / "first")
    with tarfile.open(first[".gz"]) as packed:
        packed.extractall(folder, filter="data")
    (unpacked,) = folder.glob("samviz-*")
    for path in unpacked.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return first, build(unpacked, folder / "second")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".whl", ".gz"])
def test_the_same_tree_gives_the_same_file(released, suffix):
    first, second = released
    assert first[suffix].name == second[suffix].name
    assert first[suffix].read_bytes() == second[suffix].read_bytes()


@pytest.mark.slow
def test_the_sdist_contains_what_its_tests_need(released):
    with tarfile.open(released[0][".gz"]) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"README.md", "LICENSE", "Makefile", "constraints.txt", "environment.yml", "tests/conftest.py"} <= names
    assert {"notebooks/00_start_here.ipynb", "notebooks/00_start_here.py", "samviz/problems/digits.npz"} <= names
