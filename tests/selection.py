"""Choose what `make test` runs of a product of parameters, and report tests that are slow without a stated reason.

A pytest plugin, loaded by tests/conftest.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Generator
from itertools import combinations
from operator import itemgetter
from typing import Any

import pytest

LIMIT_S = 5.0  # a test that takes longer says in its docstring why: "Slow: …", or "Takes 8 s because …"
BROWSER_LIMIT_S = 20.0
REASON = re.compile(r"\bSlow:|\bbecause\b")


def covering(cases: list[dict[str, object]]) -> set[int]:
    """Choose cases, each a dict from parameter to value, that have every pair of values between them."""
    pairs = [set(combinations(sorted(case.items(), key=itemgetter(0)), 2)) for case in cases]
    missing = set().union(*pairs)
    chosen = set()
    while missing:
        best = max(range(len(cases)), key=lambda at: len(pairs[at] & missing))
        missing -= pairs[best]
        chosen.add(best)
    return chosen


def factors(function: pytest.Function) -> dict[str, object]:
    """Return the value, by identity, of each parametrization of a test; names that are set together are one factor."""
    found = {}
    for mark in function.iter_markers("parametrize"):
        names = mark.args[0] if isinstance(mark.args[0], str) else ",".join(mark.args[0])
        found[names] = tuple(id(function.callspec.params[name.strip()]) for name in names.split(","))
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what a covering array of a test's parameters leaves out."""
    products: dict[tuple[pytest.Collector | None, str], list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            products[item.parent, item.originalname].append(item)
    for functions in products.values():
        if len(factors(functions[0])) > 2:
            chosen = covering([factors(function) for function in functions])
            for at, function in enumerate(functions):
                if at not in chosen:
                    function.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Note in a test's report that it took longer than its limit and does not say why."""
    report = yield
    limit = BROWSER_LIMIT_S if "browser" in item.path.parts else LIMIT_S
    text = getattr(getattr(item, "function", None), "__doc__", None) or ""
    if call.when == "call" and call.duration > limit and not REASON.search(text):
        report.user_properties.append(("no reason given", f"{call.duration:.1f} s"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests that took longer than their limit and do not say why."""
    for report in [each for reports in terminalreporter.stats.values() for each in reports]:
        for name, value in getattr(report, "user_properties", ()):
            if name == "no reason given" and report.when == "call":
                terminalreporter.write_line(f"no reason given for {value}: {report.nodeid}", yellow=True)
