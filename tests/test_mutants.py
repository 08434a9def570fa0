"""The table of faults for `make mutants` can be used: every place is there once, and every test exists."""

import shlex
from collections import Counter
from pathlib import Path

from mutants import faulty, read

ROOT = Path(__file__).parents[1]
FAULTS = read()
SUBPACKAGES = {file.parent.name for file in ROOT.glob("samviz/*/__init__.py")}


def test_every_fault_has_one_place_and_changes_it():
    wrong = []
    for fault in FAULTS:
        text = (ROOT / fault.file).read_text(encoding="utf-8")
        if text.count(fault.find) != 1 or fault.find == fault.put:
            wrong.append(f"{fault.name}: {fault.find!r} occurs {text.count(fault.find)} times in {fault.file}")
    assert wrong == []


def test_python_files_with_a_fault_can_still_be_compiled():
    for fault in FAULTS:
        if fault.file.endswith(".py"):
            compile(faulty((ROOT / fault.file).read_text(encoding="utf-8"), fault), fault.name, "exec")


def test_every_named_test_exists():
    missing = []
    for fault in FAULTS:
        paths = [word for word in shlex.split(fault.tests) if word.startswith(("tests/", "samviz/"))]
        missing += [f"{fault.name}: {path}" for path in paths if not (ROOT / path.partition("::")[0]).is_file()]
        if not paths:
            missing.append(f"{fault.name} names no tests")
    assert missing == []


def test_faults_lie_everywhere():
    assert len(FAULTS) >= 40
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    places = Counter(Path(fault.file).parts[1] for fault in FAULTS)
    assert {name: places[name] for name in SUBPACKAGES if places[name] < 3} == {}
    scripts = {Path(fault.file).name for fault in FAULTS if fault.file.endswith(".js")}
    assert scripts >= {"lab.js", "graph.js", "panel.js", "quiz.js"}
    assert sum(fault.file.endswith(".js") for fault in FAULTS) >= 5
