"""What a user gets: the wheel, pins, environments and badges, reproducible numbers and files, and no connections."""

import importlib.metadata
import os
import re
import tarfile
import tomllib
import zipfile

import pytest
import yaml
from fresh import ROOT, python, repository_texts
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import samviz

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE = [Requirement(each) for each in PYPROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(each) for each in requirements]
    for name, requirements in PYPROJECT["project"]["optional-dependencies"].items()
}


@pytest.mark.slow
def test_the_wheel_is_small_and_contains_all_that_the_package_reads_and_nothing_else(released):
    wheel = released[0][".whl"]
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "*.npz", "*.js", "*.css", "*.json", "*.html", "digits.md", "*.ipynb", "py.typed")
        for path in (ROOT / "samviz").rglob(pattern)
    }
    carried = (path for name in ("*.ipynb", "secret.webp", "pages/*.md") for path in (ROOT / "notebooks").glob(name))
    notebooks = {f"samviz/{path.relative_to(ROOT).as_posix()}" for path in carried}
    assert {"samviz/problems/digits.npz", "samviz/py.typed"} <= ours
    assert any(name.endswith(".js") for name in ours)
    assert {"samviz/notebooks/00_start_here.ipynb", "samviz/notebooks/pages/glossary.md"} <= notebooks
    assert {name for name in names if ".dist-info/" not in name} == ours | notebooks
    assert any(name.endswith("/LICENSE") for name in names)
    assert wheel.stat().st_size < 3_000_000


def pins(name="constraints.txt"):
    """Return the version of each package that a file of constraints pins."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    found = [(canonicalize_name(package), version) for package, version in (line.split("==") for line in lines if line)]
    assert len(found) == len(dict(found))
    return dict(found)


def test_the_oldest_stack_is_the_lower_bounds_and_installing_on_colab_keeps_its_stack():
    bounds = {}
    for each in [*CORE, *EXTRAS["lab"]]:
        (only,) = each.specifier
        assert only.operator == ">="
        bounds[each.name] = max(Version(only.version), bounds.get(each.name, Version("0")))
    assert {name: Version(version) for name, version in pins("constraints-min.txt").items()} == bounds
    colab = {"torch": "2.11.0", "plotly": "5.24.1", "ipywidgets": "7.7.1", "anywidget": "0.9.21"}
    colab |= {"ipykernel": "6.17.1", "ipython": "7.34.0"}
    found = pins("constraints-colab.txt")
    assert {name: found[name] for name in colab} == colab
    assert [str(each) for each in CORE if found[each.name] not in each.specifier] == []


def installed_by_make():
    """The core, and the extras lab and test with those that test names."""
    extras = [*EXTRAS["lab"], *EXTRAS["test"]]
    named = [more for each in extras if each.name == "samviz" for extra in each.extras for more in EXTRAS[extra]]
    return [*CORE, *named, *(each for each in extras if each.name != "samviz")]


def test_what_make_installs_is_pinned_to_what_is_tested():
    wrong = []
    for requirement in installed_by_make():
        pin = pins().get(canonicalize_name(requirement.name))
        found = Version(importlib.metadata.version(requirement.name)).public
        if pin != found or pin not in requirement.specifier:
            wrong.append(f"{requirement}: constraints.txt pins {pin}, and {found} is installed")
    assert not wrong, "\n".join(wrong)


def test_conda_gets_what_pip_gets():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (by_pip,) = (each["pip"] for each in environment["dependencies"] if isinstance(each, dict))
    listed = [each for each in environment["dependencies"] if isinstance(each, str)]
    assert by_pip == ["-e ."]
    assert any(re.fullmatch(r"python=3\.\d+", each) for each in listed), "Binder's default is too old: pin python"
    by_conda = {requirement.name: requirement for requirement in map(Requirement, listed[1:])}
    for requirement in [*CORE, *EXTRAS["lab"]]:
        name = {"torch": "pytorch-cpu"}.get(requirement.name, requirement.name)
        assert name in by_conda
        (bound,) = by_conda[name].specifier
        assert bound.version in requirement.specifier
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    assert environment["variables"] == one_thread


def test_the_readme_is_short_and_its_badges_open_notebooks_of_the_repository_in_pyproject():
    repository, readme = PYPROJECT["tool"]["samviz"]["repository"], (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 120
    badges = (r"mybinder\.org/v2/gh/([\w.-]+/[\w.-]+)/", r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/")
    for badge in badges:
        assert set(re.findall(badge, readme)) == {repository}, badge
    for script in (ROOT / "notebooks").glob("*.py"):
        for link in (*badges, r"github\.com/([\w.-]+/samviz)"):
            assert set(re.findall(link, script.read_text(encoding="utf-8"))) <= {repository}, script.name
    opened = set(re.findall(r"notebooks(?:/|%2F)([\w.-]+\.ipynb)", readme))
    assert "00_start_here.ipynb" in opened
    assert opened <= {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_no_text_names_a_machine_or_contains_an_unresolved_merge():
    machine = re.compile(rf"{re.escape(str(ROOT))}|(?<![\w.~])/(root|work|home/\w+|Users/\w+)/|file:///")
    for name, text in repository_texts():
        assert name == "tests/test_packaging.py" or machine.search(text) is None, name
        assert not re.search("^(<<<<<<<|>>>>>>>) ", text, re.M), name


INSTALLATION = ROOT / "notebooks/pages/installation.md"


def test_the_installation_page_names_the_wheel_that_is_built_and_no_install_from_pypi():
    """Nothing is published; delete the second part with the first release."""
    named = re.findall(r"samviz-[\w.]+-py3-none-any\.whl", INSTALLATION.read_text(encoding="utf-8"))
    assert set(named) == {f"samviz-{samviz.__version__}-py3-none-any.whl"}
    lines = [line for path in (ROOT / "README.md", INSTALLATION) for line in path.read_text("utf-8").splitlines()]
    from_pypi = [line for line in lines if re.search(r"""pip install[^`]*[\s"']samviz\b(?!-)""", line)]
    assert [line for line in from_pypi if "planned for the first release" not in line] == []
    assert len(from_pypi) <= 1


# What CI installs: pinned files by their hashes, under licences that allow anybody to teach with them.

LINE = re.compile(r"(?P<pin>\S+==\S+) --hash=sha256:[0-9a-f]{64}  # (?P<licence>\S.*)")
FREE = re.compile(r"\b(MIT|BSD|Apache|Apache-2\.0|MPL|MPL-2\.0|PSF|PSF-2\.0|Python Software Foundation|ISC|0BSD)\b")


def listed(path):
    return [
        line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]


def test_each_pin_has_the_hash_of_its_file_and_a_licence_and_ci_installs_nothing_without():
    lines = [LINE.fullmatch(line) for line in listed(".ci/requirements.txt")]
    assert all(lines)
    assert [line["pin"] for line in lines] == listed("constraints.txt"), "run .venv/bin/python .ci/pin.py"
    assert not [line["pin"] for line in lines if not FREE.search(line["licence"])]
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


# the numbers of a run and the released files are the same bit for bit in two attempts


NUMBERS = """
import samviz
run = samviz.Run(samviz.mlp([2, 16, 1], data="spirals"), lr=0.05, rho=0.02, batch_size=4, seed=3, device="cpu")
for rho in (0.02, 0.05):
    run.set(rho=rho)
    run.step(60)
    run.measure()
print(run.x.tolist(), run.history.rows)
"""


def output_of(*arguments, **options):
    result = python(*arguments, **options)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


def test_two_processes_give_the_same_bits():
    """It starts two interpreters, since within one process the order of sets and dicts would stay the same."""
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
USES = """
import importlib, pkgutil, samviz, tempfile
for found in pkgutil.walk_packages(samviz.__path__, "samviz."):
    if not found.name.startswith("samviz.notebooks"):
        importlib.import_module(found.name)
lab = samviz.Lab(samviz.mlp([1, 24, 24, 1], data="sine"), rho=0.01, device="cpu").run(40)
with tempfile.TemporaryDirectory() as folder:
    lab.export(f"{folder}/run.html", frames=3)
samviz.panels.cycle_panel().static()
assert samviz.verify.run_claims(["two_cycle"], quick=True) == 0
samviz.doctor.doctor()
"""


@pytest.mark.slow
def test_no_connection_is_opened():
    """Slow: it imports the package in a new interpreter."""
    result = python("-c", NO_CONNECTIONS + USES, env={"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr[-2000:]
