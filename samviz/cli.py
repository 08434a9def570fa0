"""The command `samviz`: open the tutorial, verify the paper, or say what keeps either from working."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

from samviz import __version__
from samviz.doctor import doctor
from samviz.files import write

FIRST = "00_start_here.ipynb"
# compiles, the first time on a machine, what the first lab would wait for, while JupyterLab starts
PREPARE = "from samviz import Run, mlp; Run(mlp([1, 2, 1]), device='cpu').prepare()"
# Voila's page asks for icons from another host, which it does not need
SAME_HOST = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss:"
RECORD = ".samviz.json"  # in a learner's folder: the hash of each notebook of ours, as last copied or offered


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; None for those that the process was started with.

    Returns:
        The exit status: 0, or 1 if what was asked for cannot be done.
    """
    parser = argparse.ArgumentParser(prog="samviz", description="How does SAM minimize sharpness? Steer it and see.")
    parser.add_argument("--version", action="version", version=f"samviz {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    opening = commands.add_parser("lab", help="open the notebooks in JupyterLab")
    opening.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="DIR",
        help="where your copy lives (default: ./notebooks in a clone, else ./samviz-notebooks)",
    )
    opening.add_argument("--no-browser", action="store_true", help="start JupyterLab, but open no browser")
    opening.add_argument("--copy-only", action="store_true", help="copy the notebooks and stop")
    checking = commands.add_parser("verify", help="run the paper's statements: predict, measure, and say which hold")
    checking.add_argument("names", nargs="*", metavar="NAME", help="claims to run (default: all of them)")
    checking.add_argument("--quick", action="store_true", help="fewer and coarser scales: seconds instead of minutes")
    checking.add_argument("--json", action="store_true", help="print JSON instead of a table")
    checking.add_argument("--report", type=Path, metavar="FILE", help="write one page with a picture per claim")
    serving = commands.add_parser("app", help="serve the lab alone, as a web page without code (Voila)")
    serving.add_argument("--no-browser", action="store_true", help="serve it, but open no browser")
    serving.add_argument("--port", type=int, default=8866, help="where it is served (default: 8866)")
    commands.add_parser("doctor", help="check that the lab can run here, and say what to do if not")
    commands.add_parser("answers", help="print the answer key of the exercises and quizzes, for teachers")
    asked = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe on Windows would refuse the Greek letters
            stream.reconfigure(encoding="utf-8")
    if asked.command == "doctor":
        return doctor()
    if asked.command == "answers":
        from samviz.course import answer_key

        print(answer_key())
        return 0
    if asked.command == "app":
        return app(asked.port, browser=not asked.no_browser)
    if asked.command == "verify":
        from samviz.verify import run_claims

        return run_claims(asked.names, quick=asked.quick, as_json=asked.json, report=asked.report)
    return lab(asked.folder, browser=not asked.no_browser, copy_only=asked.copy_only)


def lab(folder: Path | None = None, *, browser: bool = True, copy_only: bool = False) -> int:
    """Open the notebooks in JupyterLab, and stay until it is shut down.

    Args:
        folder: where the learner's copy lives or shall live; None for the clone that we stand in, or else for
            `samviz-notebooks` beside us.
        browser: whether a browser is opened on it.
        copy_only: whether to stop once the notebooks are there.

    Returns:
        The exit status: 1 if the notebooks cannot be copied or JupyterLab is missing.
    """
    if folder is None and Path("notebooks", FIRST).exists():  # a clone: its notebooks are the originals
        folder = Path("notebooks")
    else:
        folder = folder or Path("samviz-notebooks")
        try:
            copy_notebooks(_originals(), folder)
        except OSError as error:
            return _fail(f"the notebooks cannot be copied to {folder}: {error}", "name another: samviz lab DIR")
    print(f"The notebooks are in {folder.resolve()}")
    if copy_only:
        return 0
    try:
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        return _fail(f"JupyterLab cannot be loaded ({error})", 'pip install "samviz[lab]"')
    options = [f"--ServerApp.root_dir={folder.resolve()}", f"--LabApp.default_url=/lab/tree/{FIRST}"]
    if not browser:
        options.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container, where JupyterLab would refuse to start
        options.append("--allow-root")
    subprocess.Popen([sys.executable, "-c", PREPARE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    LabApp.launch_instance(options)
    return 0


def app(port: int, *, browser: bool = True) -> int:
    """Serve the lab alone as a web page, a kernel for each reader, and stay until it is shut down.

    Args:
        port: on this machine.
        browser: whether a browser is opened on it.

    Returns:
        The exit status: 1 if Voila is missing.
    """
    try:
        from voila.app import Voila
    except ImportError as error:
        return _fail(f"Voila cannot be loaded ({error})", 'pip install "samviz[app]"')
    options = [str(Path(__file__).resolve().parent / "lab" / "app.ipynb"), f"--port={port}"]
    headers = {"Content-Security-Policy": SAME_HOST}
    Voila.launch_instance(options if browser else [*options, "--no-browser"], tornado_settings={"headers": headers})
    return 0


def copy_notebooks(source: Path, folder: Path) -> None:
    """Bring a learner's folder up to date, without losing what the learner wrote in it.

    A notebook, or a page beside them, that is as we left it is refreshed. One that was edited is kept; where we have
    something newer, the learner is asked, if there is a terminal to ask on.

    Args:
        source: folder of the originals.
        folder: the learner's; made if it is not there.

    Raises:
        OSError: if a file cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.samefile(source):
        return
    record = folder / RECORD
    try:
        known = dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none yet, or spoilt: then nothing counts as unedited
        known = {}
    (folder / "pages").mkdir(exist_ok=True)
    for original in sorted([*source.glob("*.ipynb"), *source.glob("pages/*.md")]):
        name = original.relative_to(source).as_posix()
        copy = folder / name
        ours, theirs = _hash(original), _hash(copy) if copy.exists() else None
        if theirs in (None, known.get(name)) and theirs != ours:
            write(copy, original.read_bytes())
        elif theirs != ours:  # edited
            if known.get(name) != ours and sys.stdin.isatty():
                _settle(original, copy)
            else:
                print(f"Kept {copy}, which you edited; delete it to get the original back.")
                continue
        known[name] = ours
    write(record, json.dumps(known, indent=1).encode())


def _settle(original: Path, copy: Path) -> None:
    """Ask what becomes of an edited notebook, and do that; anything but a clear answer keeps it."""
    try:
        answer = input(f"{copy} was edited, and ours is newer. [k]eep yours, [o]verwrite it, save ours as [n]ew? [k] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("o", "overwrite"):
        write(copy, original.read_bytes())
    elif answer.strip().lower() in ("n", "new"):
        beside = copy.with_suffix(f".new{copy.suffix}")
        while beside.exists():  # that one may have been edited too
            beside = beside.with_suffix(f".new{copy.suffix}")
        write(beside, original.read_bytes())
        print(f"Saved {beside}")


def _originals() -> Path:
    """The notebooks that the installed package carries, or those of the clone it was installed from."""
    package = Path(__file__).resolve().parent
    carried = package / "notebooks"
    return carried if carried.is_dir() else package.parent / "notebooks"


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fail(what: str, remedy: str) -> int:
    print(f"samviz: {what}\n  -> {remedy}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
