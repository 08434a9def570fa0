"""A claim that is run with something wrong in it."""

from samviz.claims import verify


def failing(name):
    """The quantities of a claim that do not hold; by them it must fail, not by an exception."""
    (verdict,) = verify([name], quick=True)
    assert verdict.finding is not None, verdict.problem
    assert not verdict.holds
    return [check.quantity for check in verdict.finding.checks if not check.holds]
