"""`make test` runs a covering array of a product of three or more parameters."""

from itertools import combinations, product

import pytest
from selection import covering

pytest_plugins = ["pytester"]

# Values that are set together are one parameter, and a product of two parameters is complete.
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
    pytester.makepyfile(PRODUCT)
    pytester.makeini("[pytest]\nmarkers =\n    slow: runs later")
    run = pytester.runpytest("-p", "selection", "-p", "no:cacheprovider", "-v", "-m", "not slow")
    assert str(run.stdout).count("test_two_parameters[") == 16
    assert 9 <= str(run.stdout).count("test_a_product[") < 18
