"""The panels of the sine network: SAM lowers λ₁ and gradient descent does not; then λ₁ meets λ₂."""

import numpy as np
import pytest
import torch
from pictures import finite, last, trace

from samviz.dynamics import Run
from samviz.panels import sine_network


def drawn(rho):
    return last(sine_network.draw_first_change, {"rho": rho, "guess": "skipped"})


def test_the_curve_is_the_largest_eigenvalue_of_the_hessian_along_the_run():
    plain, sentence = drawn(0.05)
    curve = trace(plain, "SAM")
    problem, x0 = sine_network.trained()
    run = Run(problem, "sam", 0.05, 0.05, x0=x0, device="cpu")
    run.step(sine_network.FIRST_END - sine_network.SWITCHED_AT)
    dense = torch.linalg.eigvalsh(problem.hessian(run.x)[0])[-1]
    assert curve["y"][-1] == pytest.approx(float(dense), rel=1e-3)
    assert (np.diff(curve["y"]) < 0).all()
    assert curve["y"][-1] < curve["y"][0] / 2
    assert "λ₁ went from 15.4 to 7.0" in sentence


def test_without_rho_the_sharpness_stays_and_the_first_picture_ends_where_it_is_switched_on():
    plain, sentence = drawn(0.0)
    assert np.ptp(trace(plain, "SAM")["y"]) < 0.05
    assert "gradient descent" in sentence
    plain, sentence = next(sine_network.draw_first_change({"rho": 0.05, "guess": None}))
    assert trace(plain, "now")["x"] == [sine_network.SWITCHED_AT]
    assert "SAM" not in sentence + str(plain["layout"])
    finite(plain)


# λ₁ meets λ₂


@pytest.fixture(scope="module")
def shown():
    return last(sine_network.draw_closing_gap, {"rho": 0.02, "lr": 0.1, "guess": "skipped"})


def test_the_two_eigenvalues_meet_and_then_decrease_together_as_the_reply_says(shown):
    drawn, sentence = shown
    first, second, third = (np.array(trace(drawn, name)["y"]) for name in ("λ₁", "λ₂", "λ₃"))
    assert len(first) == sine_network.GAP_END // sine_network.GAP_SPACING + 1
    met = int((first / second < 1.01).argmax())
    assert (first[met:] / second[met:] < 1.03).all()  # at the iterate, which jumps across Γ
    assert first[-1] < first[met] - 0.4
    assert (third < 1.3).all()
    assert f"They met at step {met * sine_network.GAP_SPACING:,}." in sentence
    last_height = trace(shown[0], "λ₁")["y"][-1]
    (text,) = [text for low, high, text in sine_network.CLOSING_GAP.replies if low <= last_height < high]
    assert "both decrease together" in text


def test_after_the_meeting_only_the_cosine_with_v1_jumps(shown):
    drawn, _ = shown
    cosine, space, rayleigh = (
        trace(drawn, n)["y"][60:] for n in ("|cos(∇L, v₁)|", "cos with eigenspace", "Rayleigh ratio")
    )
    assert cosine.min() < 0.3
    assert cosine.max() > 0.9
    assert space.min() > 0.99
    assert rayleigh.min() > 0.97
