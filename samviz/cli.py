"""The command `samviz`: open the tutorial, verify the paper, or find out why either does not work."""

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
# compiles for the first time on a machine, while JupyterLab starts, the code that the first lab would wait for
PREPARE = "from samviz import Run, mlp; Run(mlp([1, 2, 1]), device='cpu').prepare()"
# Voila's page requests icons from another host, which it does not need
SAME_HOST = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss:"
RECORD = ".samviz.json"  # in a learner's folder: the hash of each original, as last copied or offered
PACKAGE = Path(__file__).resolve().parent
# the option of JupyterLab's and Voila's server that makes it send each message at once
PROMPT = "kernel_websocket_connection_class=samviz.server.PromptConnection"


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="samviz", description="How does SAM minimize sharpness? Steer it and see.")
    parser.add_argument("--version", action="version", version=f"samviz {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("lab", help="open the notebooks in JupyterLab")
    where = "folder of your copy (default: ./notebooks in a clone, else ./samviz-notebooks)"
    command.add_argument("folder", nargs="?", type=Path, metavar="DIR", help=where)
    command.add_argument("--no-browser", action="store_true", help="start JupyterLab, but open no browser")
    command.add_argument("--copy-only", action="store_true", help="copy the notebooks and stop")
    command = commands.add_parser("verify", help="run the paper's statements: predict, measure, and compare")
    command.add_argument("names", nargs="*", metavar="NAME", help="claims to run (default: all of them)")
    command.add_argument("--quick", action="store_true", help="fewer and coarser scales: seconds instead of minutes")
    command.add_argument("--beyond", action="store_true", help="what came after the paper, instead of the paper")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--report", type=Path, metavar="FILE", help="write one page with a figure per claim")
    command = commands.add_parser("app", help="serve the lab alone, as a web page without code (Voila)")
    command.add_argument("--no-browser", action="store_true", help="serve it, but open no browser")
    command.add_argument("--port", type=int, default=8866, help="port on this machine (default: 8866)")
    commands.add_parser("doctor", help="check that the lab can run here, and print what to do if not")
    commands.add_parser("answers", help="print the answer key of the exercises and quizzes, for teachers")
    options = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe on Windows would refuse the Greek letters
            stream.reconfigure(encoding="utf-8")
    if options.command == "doctor":
        return doctor()
    if options.command == "answers":
        from samviz.course import answer_key

        print(answer_key())
        return 0
    if options.command == "app":
        return app(options.port, browser=not options.no_browser)
    if options.command == "verify":
        from samviz.verify import run_claims

        modes = {"quick": options.quick, "beyond": options.beyond, "as_json": options.json}
        return run_claims(options.names, **modes, report=options.report)
    return lab(options.folder, browser=not options.no_browser, copy_only=options.copy_only)


def lab(folder: Path | None, *, browser: bool, copy_only: bool) -> int:
    """Open the notebooks in JupyterLab until it is shut down, and return the exit status."""
    if folder is None and Path("notebooks", FIRST).exists():  # a clone: its notebooks are the originals
        folder = Path("notebooks")
    else:
        folder = folder or Path("samviz-notebooks")
        try:
            installed = PACKAGE / "notebooks"  # otherwise samviz was installed from a clone
            copy_notebooks(installed if installed.is_dir() else PACKAGE.parent / "notebooks", folder)
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
    options += [f"--ServerApp.{PROMPT}"]
    options += [] if browser else ["--no-browser"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container, where JupyterLab would refuse to start
        options.append("--allow-root")
    subprocess.Popen([sys.executable, "-c", PREPARE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    LabApp.launch_instance(options)
    return 0


def app(port: int, *, browser: bool) -> int:
    """Serve the lab alone as a web page, with a kernel for each reader, and return the exit status."""
    try:
        from voila.app import Voila
    except ImportError as error:
        return _fail(f"Voila cannot be loaded ({error})", 'pip install "samviz[app]"')
    options = [str(PACKAGE / "lab" / "app.ipynb"), f"--port={port}", f"--Voila.{PROMPT}"]
    options += [] if browser else ["--no-browser"]
    # Without the second setting, Voila refuses the request of a closed page to end its kernel, which would play on.
    settings = {"headers": {"Content-Security-Policy": SAME_HOST}, "disable_check_xsrf": True}
    Voila.launch_instance(options, tornado_settings=settings)
    return 0


def copy_notebooks(source: Path, folder: Path) -> None:
    """Copy the notebooks and pages of a folder to the learner's folder, without overwriting the learner's edits.

    A file that the learner has not edited is replaced by a newer original. An edited file is kept; if there is a newer
    original and a terminal, the learner is asked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.samefile(source):
        return
    record = folder / RECORD
    try:
        known = dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # missing or damaged: then every different file counts as edited
        known = {}
    (folder / "pages").mkdir(exist_ok=True)
    for original in sorted([*source.glob("*.ipynb"), *source.glob("secret.webp"), *source.glob("pages/*.md")]):
        name = original.relative_to(source).as_posix()
        copy = folder / name
        ours, theirs = _hash(original), _hash(copy) if copy.exists() else None
        if theirs in (None, known.get(name)) and theirs != ours:
            write(copy, original.read_bytes())
        elif theirs != ours:  # edited
            if known.get(name) == ours or not sys.stdin.isatty():
                print(f"Kept {copy}, which you edited; delete it to get the original back.")
                continue
            _ask(original, copy)
        known[name] = ours
    write(record, json.dumps(known, indent=1).encode())


def _ask(original: Path, copy: Path) -> None:
    """Ask whether to overwrite an edited notebook or to save the original next to it; keep it by default."""
    try:
        answer = input(f"{copy} was edited, and ours is newer. [k]eep yours, [o]verwrite it, save ours as [n]ew? [k] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("o", "overwrite"):
        write(copy, original.read_bytes())
    elif answer.strip().lower() in ("n", "new"):
        new = copy.with_suffix(f".new{copy.suffix}")
        while new.exists():  # it may have been edited, too
            new = new.with_suffix(f".new{copy.suffix}")
        write(new, original.read_bytes())
        print(f"Saved {new}")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fail(problem: str, remedy: str) -> int:
    print(f"samviz: {problem}\n  -> {remedy}", file=sys.stderr)
    return 1
