"""The table of faults for `make mutants` can be used: each place occurs exactly once, and each test file exists."""

import shlex

from fresh import ROOT
from mutants import faulty, read


def test_each_fault_has_one_name_changes_one_place_and_names_tests_that_exist():
    names = set()
    for fault in read():
        assert fault.name not in names
        names.add(fault.name)
        text = (ROOT / fault.file).read_text(encoding="utf-8")
        changed = faulty(text, fault)
        assert changed != text, fault.name
        if fault.file.endswith(".py"):
            compile(changed, fault.name, "exec")
        paths = [word.partition("::")[0] for word in shlex.split(fault.tests) if word.startswith(("tests/", "samviz/"))]
        assert paths, fault.name
        assert all((ROOT / path).is_file() for path in paths), fault.name
