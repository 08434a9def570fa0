"""What differs between machines: speed, clocks, names of folders, installations, code pages and line ends."""

import shutil
from pathlib import Path

import pytest
from fresh import ROOT, python

from samviz import lite, machine

NAME = "Söhne & Töchter, ρ = 0,1"  # of a folder: spaces, letters of several code pages, and special ones of a shell


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / NAME
    place.mkdir()
    return place


STEPS = """
import samviz
run = samviz.Run(samviz.valley(), lr=0.01, rho=0.1, device="cpu")
run.step(5)
print(run.engine, samviz.__file__, sep="|")
"""


def installed(place):
    """Copy the package to a folder, without compiled code."""
    shutil.copytree(ROOT / "samviz", place / "samviz", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "notebooks", place / "samviz" / "notebooks", ignore=shutil.ignore_patterns("book"))
    return place


def locked(place):
    """Prevent that compiled code is stored next to the sources; permissions alone do not stop an administrator."""
    for folder in [place / "samviz", *filter(Path.is_dir, (place / "samviz").rglob("*"))]:
        (folder / "__pycache__").touch()
    for path in (place / "samviz").rglob("*"):
        path.chmod(path.stat().st_mode & ~0o222)


@pytest.mark.slow
@pytest.mark.parametrize("home", ["writable", "locked", None])
def test_an_installation_steps_and_copies_its_notebooks(folder, home):
    """Slow: it starts interpreters. The installation is read-only, or else keeps the compiled code."""
    installed(folder) if home is None else locked(installed(folder))
    at_home = folder / "home"
    at_home.touch() if home == "locked" else at_home.mkdir()
    homes = dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"), str(at_home / "user"))
    environment = {"PYTHONPATH": str(folder), **homes}
    ran = python("-c", STEPS, cwd=folder, env=environment)
    assert ran.stdout.split("|")[0] == "compiled", ran.stderr
    assert Path(ran.stdout.split("|")[1].strip()).is_relative_to(folder)
    kept = list((folder / "samviz/dynamics").glob("__pycache__/rules.sam-*.nbc"))
    assert bool(kept) == (home is None)
    copied = python("-m", "samviz", "lab", "mine", "--copy-only", cwd=folder, env=environment)
    assert copied.returncode == 0, copied.stderr
    (folder / "mine" / "00_start_here.ipynb").write_text("edited", encoding="utf-8")  # the copy is writable


@pytest.mark.slow
def test_the_command_writes_greek_letters_into_a_pipe_of_another_code_page():
    ran = python("-m", "samviz", "answers", env={"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"})
    assert ran.returncode == 0, ran.stderr
    assert "ρ" in ran.stdout


def test_git_checks_out_the_same_line_ends_everywhere():
    rules = (ROOT / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert "* text=auto eol=lf" in rules
    assert {f"*{suffix} binary" for suffix in (".npz", ".png", ".webp")} <= set(rules)


# a machine is slow if it has few cores or slow ones; the environment overrides the measurement


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """Unset the environment variables, and forget the cached answer before and after."""
    monkeypatch.delenv("SAMVIZ_LITE", raising=False)
    monkeypatch.delenv("CPU_LIMIT", raising=False)
    lite.cache_clear()
    yield
    lite.cache_clear()


@pytest.mark.parametrize(
    ("cores", "speed", "slow"), [(2, 30_000, False), (64, 29_999, True), (1, 1e9, True), (1.5, 1e9, True)]
)
def test_few_cores_or_a_slow_one_make_a_slow_machine(monkeypatch, cores, speed, slow):
    speeds = iter([speed])  # measured once
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "speed", lambda: next(speeds))
    assert [lite(), lite()] == [slow, slow]


def test_the_environment_overrides_the_measurement(monkeypatch):
    for name in ("cores", "speed"):
        monkeypatch.setattr(machine, name, lambda: pytest.fail("measured"))
    for value, slow in (("1", True), ("0", False)):
        monkeypatch.setenv("SAMVIZ_LITE", value)
        lite.cache_clear()
        assert lite() is slow
    monkeypatch.setenv("SAMVIZ_LITE", "yes")
    lite.cache_clear()
    with pytest.raises(ValueError, match="SAMVIZ_LITE is 'yes'; expected 1 or 0"):
        lite()


def test_a_hub_limits_the_number_of_cores(monkeypatch):
    here = machine.cores()
    for limit, cores in (("0.5", 0.5), ("1000", here)):
        monkeypatch.setenv("CPU_LIMIT", limit)
        assert machine.cores() == cores
