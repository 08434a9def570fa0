"""The command `samviz` opens and copies the notebooks, never loses an edit, and diagnoses an installation."""

import sys
import tomllib
from itertools import pairwise
from types import SimpleNamespace

import pytest
from fresh import ROOT

from samviz import __version__, cli, doctor


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """Record the options with which JupyterLab is started, in an empty working directory and without a terminal."""
    options = []
    lab = SimpleNamespace(LabApp=SimpleNamespace(launch_instance=options.extend))
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", lab)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    monkeypatch.chdir(tmp_path)
    return options


@pytest.fixture
def originals(tmp_path):
    """Write a package's notebooks, version 1."""
    folder = tmp_path / "originals"
    (folder / "pages").mkdir(parents=True)
    (folder / "00_start_here.ipynb").write_text("start 1")
    (folder / "06_networks.ipynb").write_text("networks 1")
    (folder / "pages" / "glossary.md").write_text("words 1")
    (folder / "06_networks.py").write_text("# a script, which is not copied")
    return folder


@pytest.fixture
def mine(originals, tmp_path):
    """Copy the notebooks to a learner's folder."""
    cli.copy_notebooks(originals, tmp_path / "deep" / "mine")
    return tmp_path / "deep" / "mine"


@pytest.fixture
def answers(monkeypatch):
    """Simulate a terminal whose answers to questions are in a list; None ends the input, one question more fails."""
    waiting = []

    def answer(question):
        if (text := waiting.pop(0)) is None:
            raise EOFError
        return text

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answer)
    return waiting


def contents(folder):
    return {path.name: path.read_text() for path in folder.rglob("*") if path.suffix in (".ipynb", ".md", ".py")}


def test_the_command_states_its_version_and_its_commands(capsys):
    for option in ("--version", "--help"):
        with pytest.raises(SystemExit, match="0"):
            cli.main([option])
    version, _, usage = capsys.readouterr().out.partition("\n")
    assert version == f"samviz {__version__}"
    assert "{lab,verify,app,doctor,answers}" in usage


def test_it_copies_the_notebooks_of_the_package_and_opens_them(launched, tmp_path):
    assert cli.main(["lab", "mine", "--copy-only"]) == 0
    assert launched == []
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert (tmp_path / "mine" / path.name).read_bytes() == path.read_bytes()
    assert cli.main(["lab", "mine", "--no-browser"]) == 0
    assert {f"--ServerApp.root_dir={tmp_path / 'mine'}", f"--ServerApp.{cli.PROMPT}", "--no-browser"} <= {*launched}


def test_it_opens_the_notebooks_of_a_clone_where_they_are(launched, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / cli.FIRST).write_text("mine")
    assert cli.main(["lab"]) == 0
    assert f"--ServerApp.root_dir={tmp_path / 'notebooks'}" in launched
    assert "--no-browser" not in launched
    assert contents(tmp_path) == {cli.FIRST: "mine"}


def test_what_prevents_the_lab_is_reported_with_a_remedy(launched, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)  # it cannot be imported
    monkeypatch.setitem(sys.modules, "voila.app", None)
    (tmp_path / "taken").write_text("a file")
    for command, remedy in (("lab", "samviz[lab]"), ("app", "samviz[app]"), ("lab taken", "name another")):
        assert cli.main(command.split()) == 1
        assert remedy in capsys.readouterr().err


def test_notebooks_and_pages_are_copied_deleted_copies_come_back_and_an_upgrade_refreshes(originals, mine):
    (mine / "06_networks.ipynb").unlink()
    for name in ("00_start_here.ipynb", "07_new.ipynb", "pages/glossary.md"):
        (originals / name).write_text("2")
    cli.copy_notebooks(originals, mine)
    found = {"00_start_here.ipynb": "2", "06_networks.ipynb": "networks 1", "07_new.ipynb": "2", "glossary.md": "2"}
    assert contents(mine) == found
    before = sorted(originals.iterdir())
    cli.copy_notebooks(originals, originals)
    assert sorted(originals.iterdir()) == before


MINE, ORIGINAL = "deep/mine/06_networks.ipynb", "originals/06_networks.ipynb"
BOTH = {MINE: "my notes", ORIGINAL: "networks 2"}


@pytest.mark.parametrize(
    ("written", "replies", "left"),
    [
        ({ORIGINAL: "networks 2"}, [], ["networks 2"]),
        ({MINE: "my notes"}, [], ["my notes"]),  # the original is the same
        *((BOTH, [reply], ["my notes"]) for reply in ("k", "", "what?", None)),
        *((BOTH, [reply], ["networks 2"]) for reply in ("o", "Overwrite")),
        (BOTH, ["n"], ["my notes", "networks 2"]),
        (
            BOTH | {"deep/mine/06_networks.new.ipynb": "my other notes"},
            ["n"],
            ["my notes", "my other notes", "networks 2"],
        ),
        *((BOTH | {f"deep/mine/{cli.RECORD}": text}, ["k"], ["my notes"]) for text in ("", "{", "[1, 2]", "null")),
    ],
)
def test_the_learner_decides_once_and_no_edit_is_lost(originals, mine, answers, tmp_path, written, replies, left):
    """Also where a copy saved next to an edit was edited, and without a readable record."""
    for path, text in written.items():
        (tmp_path / path).write_text(text)
    answers += replies
    for _ in range(2):  # the second time no answer is left, so that a question would be an error
        cli.copy_notebooks(originals, mine)
        copies = sorted(mine.glob("06_*.ipynb"), key=lambda path: len(path.name))
        assert [path.read_text() for path in copies] == left
    assert answers == []


def test_without_a_terminal_the_edit_is_kept_and_the_next_run_asks(originals, mine, answers, capsys):
    (mine / "06_networks.ipynb").write_text("my notes")
    (originals / "06_networks.ipynb").write_text("networks 2")
    answers.append("o")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin.isatty", lambda: False, raising=False)
        cli.copy_notebooks(originals, mine)
    assert contents(mine)["06_networks.ipynb"] == "my notes"
    assert "Kept" in capsys.readouterr().out
    cli.copy_notebooks(originals, mine)
    assert contents(mine)["06_networks.ipynb"] == "networks 2"


@pytest.mark.parametrize(
    ("missing", "verdict"), [([*doctor.NEEDED, "ipykernel"], "FAIL"), (["jupyterlab", "numba"], "warning")]
)
def test_the_doctor_has_a_remedy_for_each_missing_package_and_only_warns_of_what_can_be_replaced(
    monkeypatch, capsys, missing, verdict
):
    """Other programs open notebooks, and torch can take the steps."""

    def import_module(name):
        if name in missing:
            raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(doctor, "import_module", import_module)
    assert doctor.doctor() == int(verdict == "FAIL")
    report = capsys.readouterr().out
    assert "steps of SAM a second" in report
    for line, following in pairwise(report.splitlines()):
        found, name, facts = line.split(maxsplit=2)
        if name in missing:
            assert (found, facts) == (verdict, f"cannot be loaded (No module named {name!r})")
            assert following.split()[:3] == ["->", "pip", "install"]
        else:
            assert found != "FAIL"


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("5.9.1", "FAIL"), ("5.24", "ok"), ("5.24.0", "ok"), ("5.100", "ok"), ("6.0", "ok"), ("10.1rc1", "ok")],
)
def test_the_doctor_finds_a_package_that_is_too_old(monkeypatch, version, verdict):
    monkeypatch.setattr(doctor, "_version", lambda name: version)
    facts = (f"{version} is older than 5.24", "the remedy") if verdict == "FAIL" else (version, "")
    assert doctor._package("plotly", "5.24", "FAIL", "the remedy") == (verdict, "plotly", *facts)


@pytest.mark.parametrize(("machine", "status"), [("ok", 0), ("warning", 0), ("FAIL", 1)])
def test_the_doctor_fails_when_any_check_does(monkeypatch, capsys, machine, status):
    for check in ("_packages", "_widget_manager", "_machine", "_speed"):
        finding = doctor.Finding(machine if check == "_machine" else "ok", check, "facts", "the remedy")
        monkeypatch.setattr(doctor, check, lambda finding=finding: [finding])
    assert cli.main(["doctor"]) == status
    report = capsys.readouterr().out
    assert report.count("-> the remedy") == (machine != "ok")
    assert report.endswith("The lab cannot run here: see the lines marked FAIL.\n" if status else "can run here.\n")


@pytest.mark.parametrize(
    ("ipywidgets", "manager", "verdict"),
    [("8.1.5", "3.0.13", "ok"), ("7.7.1", "1.1.11", "ok"), ("8.1.5", "1.1.11", "FAIL"), ("8.1.5", None, "FAIL")],
)
def test_the_doctor_compares_the_two_packages_of_widgets(monkeypatch, ipywidgets, manager, verdict):
    versions = {"jupyterlab": "4.6", "ipywidgets": ipywidgets, "jupyterlab_widgets": manager}
    monkeypatch.setattr(doctor, "_version", versions.get)
    assert [finding.verdict for finding in doctor._widget_manager()] == [verdict]


@pytest.mark.parametrize(
    ("measure", "verdict"), [(lambda: 201.0, "ok"), (lambda: 199.0, "warning"), (lambda: 1 / 0, "FAIL")]
)
def test_the_doctor_judges_the_speed(monkeypatch, measure, verdict):
    monkeypatch.setattr(doctor, "_steps_per_second", measure)
    (finding,) = doctor._speed()
    assert finding.verdict == verdict
    assert finding.remedy


def test_the_doctor_checks_the_packages_that_pyproject_declares():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = [line for line in declared if ";" not in line]  # numba is not needed everywhere
    assert sorted(f"{name}>={minimum}" for name, minimum in doctor.NEEDED.items()) == sorted(needed)


def test_a_connection_to_a_kernel_sends_each_message_at_once(monkeypatch):
    channels = pytest.importorskip("jupyter_server.services.kernels.connection.channels")
    from samviz.server import PromptConnection

    called = []
    monkeypatch.setattr(channels.ZMQChannelsWebsocketConnection, "connect", lambda self: called.append("connected"))
    connection = PromptConnection.__new__(PromptConnection)
    connection._trait_values["websocket_handler"] = SimpleNamespace(set_nodelay=called.append)
    connection.connect()
    assert called == [True, "connected"]
