"""`make test` runs a covering array of a product of three or more parameters."""

from itertools import combinations, product

import pytest
from selection import covering

# Values that are set together are one parameter, and a product of two parameters is complete.


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 4, 2), (5, 2, 3, 2)])
def test_a_covering_array_has_every_pair_of_values(sizes):
    cases = [dict(enumerate(case)) for case in product(*map(range, sizes))]
    chosen = [cases[at] for at in covering(cases)]
    for one, other in combinations(range(len(sizes)), 2):
        assert {(case[one], case[other]) for case in chosen} == set(product(range(sizes[one]), range(sizes[other])))
    assert len(chosen) < len(cases)
