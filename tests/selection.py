"""A pytest plugin that chooses what `make test` runs of a product of parameters."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from operator import itemgetter

import pytest


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
