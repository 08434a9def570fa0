"""The command `samviz`, run as a learner runs it: opening, copying, never losing an edit, and the doctor."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest
from serving import served

from samviz import __version__, cli, doctor

ROOT = Path(__file__).parents[1]
FAKE_JUPYTERLAB = """
class LabApp:
    @staticmethod
    def launch_instance(argv):
        print("launched", *argv)
"""
# Python runs a sitecustomize module at its start. This one makes some packages impossible to import.
BLOCKER = """
import os, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["BLOCKED"].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def samviz(*arguments, cwd, path=(), blocked=()):
    """Run the command in a process of its own, without a terminal."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))),
        "BLOCKED": ",".join(blocked),
    }
    return subprocess.run(
        [sys.executable, "-m", "samviz", *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.fixture
def fake_jupyterlab(tmp_path):
    package = tmp_path / "fake" / "jupyterlab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "labapp.py").write_text(FAKE_JUPYTERLAB)
    return package.parent


@pytest.fixture
def blocker(tmp_path):
    folder = tmp_path / "blocker"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return folder


@pytest.fixture
def originals(tmp_path):
    """A package's notebooks, version 1."""
    folder = tmp_path / "originals"
    folder.mkdir()
    (folder / "00_start_here.ipynb").write_text("start 1")
    (folder / "06_networks.ipynb").write_text("networks 1")
    (folder / "06_networks.py").write_text("# the script stays at home")
    return folder


@pytest.fixture
def answers(monkeypatch):
    """Sit at a terminal, and answer each question with the next of these; a question too many is an error."""
    waiting = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: waiting.pop(0))
    return waiting


def contents(folder):
    return {path.name: path.read_text() for path in folder.glob("*.ipynb*")}


# --- the command ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_version(tmp_path):
    result = samviz("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"samviz {__version__}\n")


@pytest.mark.slow
def test_no_command_is_an_error_that_names_them(tmp_path):
    result = samviz(cwd=tmp_path)
    assert result.returncode == 2
    assert "lab" in result.stderr
    assert "doctor" in result.stderr


@pytest.mark.slow
def test_copies_what_the_package_carries(tmp_path):
    result = samviz("lab", "--copy-only", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    carried = {path.name: path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert cli.FIRST in carried
    assert contents(tmp_path / "samviz-notebooks") == carried


@pytest.mark.slow
def test_opens_the_copy(tmp_path, fake_jupyterlab):
    result = samviz("lab", "mine", "--no-browser", cwd=tmp_path, path=[fake_jupyterlab])
    assert result.returncode == 0, result.stderr
    launched = result.stdout.splitlines()[-1].split()
    assert {f"--ServerApp.root_dir={tmp_path / 'mine'}", "--no-browser"} <= set(launched)


@pytest.mark.slow
def test_opens_the_notebooks_of_a_clone_where_they_are(tmp_path, fake_jupyterlab):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / cli.FIRST).write_text("mine")
    result = samviz("lab", cwd=tmp_path, path=[fake_jupyterlab])
    assert result.returncode == 0, result.stderr
    launched = result.stdout.splitlines()[-1].split()
    assert f"--ServerApp.root_dir={tmp_path / 'notebooks'}" in launched
    assert "--no-browser" not in launched
    assert contents(tmp_path / "notebooks") == {cli.FIRST: "mine"}
    assert not (tmp_path / "samviz-notebooks").exists()


@pytest.mark.slow
def test_jupyterlab_really_opens_on_the_first_notebook(tmp_path):
    """Slow: it starts a Jupyter server."""
    log = tmp_path / "log"

    def address():
        found = re.search(r"http://\S+", log.read_text())
        if found is None:
            raise OSError
        return found.group()

    def ask():
        with urllib.request.urlopen(address().replace("/lab/tree/", "/api/contents/"), timeout=30) as answer:
            return json.load(answer)

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    command = [sys.executable, "-m", "samviz", "lab", "mine", "--no-browser"]
    with served(command, log, ask, 120, cwd=tmp_path, env=environment):
        assert f"/lab/tree/{cli.FIRST}?token=" in address()
        assert ask()["type"] == "notebook"


@pytest.mark.slow
def test_says_how_to_get_jupyterlab(tmp_path, blocker):
    result = samviz("lab", cwd=tmp_path, path=[blocker], blocked=["jupyterlab"])
    assert result.returncode == 1
    assert 'pip install "samviz[lab]"' in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_no_traceback(tmp_path):
    (tmp_path / "taken").write_text("a file")
    result = samviz("lab", "taken", "--copy-only", cwd=tmp_path)
    assert result.returncode == 1
    assert "taken" in result.stderr
    assert "Traceback" not in result.stderr


# --- the copies -------------------------------------------------------------------------------------------------


def test_copies_notebooks_only(originals, tmp_path):
    cli.copy_notebooks(originals, tmp_path / "deep" / "mine")
    assert contents(tmp_path / "deep" / "mine") == {
        "00_start_here.ipynb": "start 1",
        "06_networks.ipynb": "networks 1",
    }
    assert not list((tmp_path / "deep" / "mine").glob("*.py"))


def test_pages_are_copied_and_kept_like_notebooks(originals, tmp_path, answers):
    (originals / "pages").mkdir()
    page, mine = originals / "pages" / "glossary.md", tmp_path / "mine"
    page.write_text("words 1")
    cli.copy_notebooks(originals, mine)
    page.write_text("words 2")
    cli.copy_notebooks(originals, mine)
    assert (mine / "pages" / "glossary.md").read_text() == "words 2"
    (mine / "pages" / "glossary.md").write_text("my words")
    page.write_text("words 3")
    answers.append("n")
    cli.copy_notebooks(originals, mine)
    assert (mine / "pages" / "glossary.md").read_text() == "my words"
    assert (mine / "pages" / "glossary.new.md").read_text() == "words 3"


def test_the_originals_themselves_are_left_alone(originals):
    before = sorted(originals.iterdir())
    cli.copy_notebooks(originals, originals)
    assert sorted(originals.iterdir()) == before


def test_an_upgrade_refreshes_what_nobody_edited(originals, tmp_path, answers):
    mine = tmp_path / "mine"
    cli.copy_notebooks(originals, mine)
    (originals / "00_start_here.ipynb").write_text("start 2")
    (originals / "07_new.ipynb").write_text("new")
    cli.copy_notebooks(originals, mine)
    assert contents(mine) == {
        "00_start_here.ipynb": "start 2",
        "06_networks.ipynb": "networks 1",
        "07_new.ipynb": "new",
    }


def test_an_edit_is_kept_without_a_question_while_ours_is_the_same(originals, tmp_path, answers, capsys):
    mine = tmp_path / "mine"
    cli.copy_notebooks(originals, mine)
    (mine / "06_networks.ipynb").write_text("my notes")
    cli.copy_notebooks(originals, mine)
    assert contents(mine)["06_networks.ipynb"] == "my notes"
    assert "Kept" in capsys.readouterr().out


def test_a_deleted_copy_comes_back(originals, tmp_path):
    mine = tmp_path / "mine"
    cli.copy_notebooks(originals, mine)
    (mine / "06_networks.ipynb").unlink()
    cli.copy_notebooks(originals, mine)
    assert contents(mine)["06_networks.ipynb"] == "networks 1"


@pytest.fixture
def edited_and_outdated(originals, tmp_path):
    """A learner's folder with an edit, after which the package was upgraded."""
    mine = tmp_path / "mine"
    cli.copy_notebooks(originals, mine)
    (mine / "06_networks.ipynb").write_text("my notes")
    (originals / "06_networks.ipynb").write_text("networks 2")
    return mine


@pytest.mark.parametrize(
    ("answer", "copy", "beside"),
    [
        ("k", "my notes", None),
        ("", "my notes", None),
        ("what?", "my notes", None),
        ("o", "networks 2", None),
        ("Overwrite", "networks 2", None),
        ("n", "my notes", "networks 2"),
    ],
)
def test_the_learner_decides_once(originals, edited_and_outdated, answers, answer, copy, beside):
    answers.append(answer)
    for _ in range(2):  # the second time there is no answer left to give, so nothing may be asked
        cli.copy_notebooks(originals, edited_and_outdated)
        left = contents(edited_and_outdated)
        assert left["06_networks.ipynb"] == copy
        assert left.get("06_networks.new.ipynb") == beside
    assert answers == []


def test_a_copy_saved_beside_is_never_overwritten_either(originals, edited_and_outdated, answers):
    (edited_and_outdated / "06_networks.new.ipynb").write_text("my other notes")
    answers.append("n")
    cli.copy_notebooks(originals, edited_and_outdated)
    left = contents(edited_and_outdated)
    assert left["06_networks.new.ipynb"] == "my other notes"
    assert left["06_networks.new.new.ipynb"] == "networks 2"


def test_the_end_of_input_keeps_the_edit(originals, edited_and_outdated, answers, monkeypatch):
    def end(question):
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    cli.copy_notebooks(originals, edited_and_outdated)
    assert contents(edited_and_outdated)["06_networks.ipynb"] == "my notes"


def test_without_a_terminal_the_edit_is_kept_and_the_question_stays_open(
    originals, edited_and_outdated, monkeypatch, capsys
):
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    cli.copy_notebooks(originals, edited_and_outdated)
    assert contents(edited_and_outdated)["06_networks.ipynb"] == "my notes"
    assert "Kept" in capsys.readouterr().out
    record = json.loads((edited_and_outdated / cli.RECORD).read_text())
    assert record["06_networks.ipynb"] != cli._hash(originals / "06_networks.ipynb")


@pytest.mark.parametrize("spoilt", ["", "{", "[1, 2]", "null"])
def test_without_a_readable_record_what_differs_counts_as_edited(originals, edited_and_outdated, answers, spoilt):
    (edited_and_outdated / cli.RECORD).write_text(spoilt)
    answers.append("k")
    cli.copy_notebooks(originals, edited_and_outdated)
    assert contents(edited_and_outdated)["06_networks.ipynb"] == "my notes"
    assert answers == []


# --- the doctor -------------------------------------------------------------------------------------------------


def verdicts(report):
    """{subject: verdict} of the lines of a report; a remedy's line is the subject's, with ->."""
    lines = [line.split() for line in report.splitlines()]
    return {line[1]: line[0] for line in lines if line[0] in ("ok", "warning", "FAIL")}


@pytest.mark.slow
def test_doctor_finds_this_machine_well(tmp_path):
    """Slow: in an interpreter of its own, the doctor measures the machine for seconds."""
    result = samviz("doctor", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    found = verdicts(result.stdout)
    assert "FAIL" not in found.values()
    assert {*doctor.NEEDED, "python", "samviz", "ipykernel", "jupyterlab", "notebook", "device", "memory"} <= set(found)
    assert "float64" in result.stdout
    assert "steps of SAM a second" in result.stdout


@pytest.mark.slow
def test_doctor_fails_and_says_what_to_do_about_each_missing_package(tmp_path, blocker):
    missing = [*doctor.NEEDED, "ipykernel"]
    result = samviz("doctor", cwd=tmp_path, path=[blocker], blocked=missing)
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    followed_by = dict(pairwise(result.stdout.splitlines()))
    for name in missing:
        (line,) = (line for line in followed_by if line.split()[:2] == ["FAIL", name])
        assert f"No module named '{name}" in line
        assert followed_by[line].split()[:3] == ["->", "pip", "install"]


@pytest.mark.slow
def test_doctor_fails_over_what_only_the_lab_needs(tmp_path, blocker):
    """Slow: in an interpreter of its own, the doctor measures the machine for seconds."""
    result = samviz("doctor", cwd=tmp_path, path=[blocker], blocked=["anywidget", "ipykernel"])
    assert result.returncode == 1, result.stdout
    found = verdicts(result.stdout)
    assert {name for name, verdict in found.items() if verdict == "FAIL"} == {"anywidget", "ipykernel"}


@pytest.mark.slow
def test_doctor_only_warns_where_there_is_another_way(tmp_path, blocker):
    """Another program may open the notebooks, and torch can take the steps."""
    result = samviz("doctor", cwd=tmp_path, path=[blocker], blocked=["jupyterlab", "numba"])
    assert result.returncode == 0, result.stdout
    found = verdicts(result.stdout)
    assert (found["jupyterlab"], found["numba"]) == ("warning", "warning")


def test_doctor_calls_an_old_package_too_old(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "5.9.1")
    finding = doctor._package("plotly", "5.24", "FAIL", "the remedy")
    assert finding == ("FAIL", "plotly", "5.9.1 is older than 5.24", "the remedy")


@pytest.mark.parametrize("version", ["5.24", "5.24.0", "5.100", "6.0", "10.1rc1"])
def test_doctor_calls_no_newer_package_too_old(monkeypatch, version):
    monkeypatch.setattr(doctor, "_version", lambda name: version)
    assert doctor._package("plotly", "5.24", "FAIL", "the remedy") == ("ok", "plotly", version, "")


@pytest.mark.parametrize(("worst", "status"), [("ok", 0), ("warning", 0), ("FAIL", 1)])
def test_doctor_fails_when_any_check_does(monkeypatch, capsys, worst, status):
    for check in ("_versions", "_packages", "_widget_manager", "_memory", "_device", "_speed", "_mode"):
        finding = doctor.Finding(worst if check == "_memory" else "ok", check, "facts", "the remedy")
        monkeypatch.setattr(doctor, check, lambda finding=finding: [finding])
    assert doctor.doctor() == status
    report = capsys.readouterr().out
    assert report.count("-> the remedy") == (worst != "ok")
    assert report.endswith("The lab cannot run here: see the lines marked FAIL.\n" if status else "can run here.\n")


@pytest.mark.parametrize(
    ("ipywidgets", "manager", "verdict"),
    [("8.1.5", "3.0.13", "ok"), ("7.7.1", "1.1.11", "ok"), ("8.1.5", "1.1.11", "FAIL"), ("8.1.5", None, "FAIL")],
)
def test_doctor_compares_the_two_halves_of_the_widgets(monkeypatch, ipywidgets, manager, verdict):
    versions = {"jupyterlab": "4.6", "ipywidgets": ipywidgets, "jupyterlab_widgets": manager}
    monkeypatch.setattr(doctor, "_version", versions.get)
    assert [finding.verdict for finding in doctor._widget_manager()] == [verdict]


@pytest.mark.parametrize(
    ("step", "verdict"), [(lambda: None, "ok"), (lambda: time.sleep(0.6), "warning"), (None, "FAIL")]
)
def test_doctor_judges_the_speed(monkeypatch, step, verdict):
    def sam():
        if step is None:
            raise RuntimeError("no such kernel")
        return step

    monkeypatch.setattr(doctor, "_fifty_steps", sam)
    (finding,) = doctor._speed()
    assert finding.verdict == verdict
    assert finding.remedy


def test_doctor_asks_for_what_the_package_declares():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = [line for line in declared if ";" not in line]  # numba is not needed everywhere
    assert sorted(f"{name}>={least}" for name, least in doctor.NEEDED.items()) == sorted(needed)
