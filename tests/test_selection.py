"""What `make test` runs of a product of parameters."""

from itertools import combinations, product

import pytest
from selection import covering

pytest_plugins = ["pytester"]

PRODUCT = """
import pytest

@pytest.mark.parametrize("a", [1, 2, 3])
@pytest.mark.parametrize("b", ["x", "y", "z"])
@pytest.mark.parametrize(("c", "d"), [(1, 1), (1, 2), (2, 1)])
def test_a_product(a, b, c, d):
    pass

@pytest.mark.parametrize("a", range(4))
@pytest.mark.parametrize("b", range(4))
def test_two_parameters(a, b):
    pass
"""


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 4, 2), (5, 2, 3, 2)])
def test_a_covering_array_has_every_pair_of_values(sizes):
    cases = [dict(enumerate(case)) for case in product(*map(range, sizes))]
    chosen = [cases[at] for at in covering(cases)]
    for one, other in combinations(range(len(sizes)), 2):
        assert {(case[one], case[other]) for case in chosen} == set(product(range(sizes[one]), range(sizes[other])))
    assert len(chosen) < len(cases)


def test_the_rest_of_a_product_is_slow(pytester):
    """Values that are set together are one parameter, and a product of two parameters is complete."""
    pytester.makepyfile(PRODUCT)
    pytester.makeini("[pytest]\nmarkers =\n    slow: runs later")
    run = pytester.inline_run("-p", "selection", "-p", "no:cacheprovider", "-m", "not slow")
    names = [
        call.nodeid.partition("::")[2].partition("[")[0]
        for call in run.getreports("pytest_runtest_logreport")
        if call.when == "call"
    ]
    assert names.count("test_two_parameters") == 16
    assert 9 <= names.count("test_a_product") < 18
