"""The panel in which λ₁ meets λ₂ against a run of its own."""

import numpy as np
import pytest
from pictures import last, trace

from samviz.panels.sine_network import CLOSING_GAP, GAP_END, GAP_SPACING, draw_closing_gap

VALUES = {"rho": 0.02, "lr": 0.1, "guess": "skipped"}


@pytest.fixture(scope="module")
def shown():
    return last(draw_closing_gap, VALUES)


def test_the_two_eigenvalues_meet_and_then_decrease_together_as_the_reply_says(shown):
    drawn, sentence = shown
    first, second, third = (np.array(trace(drawn, name)["y"]) for name in ("λ₁", "λ₂", "λ₃"))
    assert len(first) == GAP_END // GAP_SPACING + 1
    met = int((first / second < 1.01).argmax())
    assert (first[met:] / second[met:] < 1.03).all()  # at the iterate, which jumps across Γ
    assert first[-1] < first[met] - 0.4
    assert (third < 1.3).all()
    assert f"They met at step {met * GAP_SPACING:,}." in sentence
    last_height = trace(shown[0], "λ₁")["y"][-1]
    (text,) = [text for low, high, text in CLOSING_GAP.replies if low <= last_height < high]
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
