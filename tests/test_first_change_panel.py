"""The first panel: gradient descent leaves λ₁ as it is, SAM lowers it, and the first picture does not show that."""

import numpy as np
import pytest
import torch
from pictures import finite, last, trace

from samviz.dynamics import Run
from samviz.panels import sine_network as first


def drawn(rho):
    return last(first.draw_first_change, {"rho": rho, "guess": "skipped"})


def test_the_curve_is_the_largest_eigenvalue_of_the_hessian_along_the_run():
    plain, sentence = drawn(0.05)
    curve = trace(plain, "SAM")
    problem, x0 = first.trained()
    run = Run(problem, "sam", 0.05, 0.05, x0=x0, device="cpu")
    run.step(first.FIRST_END - first.SWITCHED_AT)
    dense = torch.linalg.eigvalsh(problem.hessian(run.x)[0])[-1]
    assert curve["y"][-1] == pytest.approx(float(dense), rel=1e-3)
    assert (np.diff(curve["y"]) < 0).all()
    assert curve["y"][-1] < curve["y"][0] / 2
    assert "λ₁ went from 15.4 to 7.0" in sentence


def test_without_rho_the_sharpness_stays_and_the_first_picture_ends_where_it_is_switched_on():
    plain, sentence = drawn(0.0)
    assert np.ptp(trace(plain, "SAM")["y"]) < 0.05
    assert "gradient descent" in sentence
    plain, sentence = next(first.draw_first_change({"rho": 0.05, "guess": None}))
    assert trace(plain, "now")["x"] == [first.SWITCHED_AT]
    assert "SAM" not in sentence + str(plain["layout"])
    finite(plain)
