"""The book's animation shows two computed runs and is a fragment without dependencies."""

import json
import re

import numpy as np
import pytest
import torch
import valley_by_hand


@pytest.fixture(scope="module")
def html(secret):
    return secret.secret()


@pytest.fixture(scope="module")
def runs(html):
    """The numbers that the animation's script reads."""
    return json.JSONDecoder().raw_decode(html, html.index('{"gd":'))[0]


def gradient(x):
    return torch.func.grad(valley_by_hand.loss)(x)


def iterates(secret, rule):
    """Compute a run by autograd and Eq. 3, (steps + 1, 4)."""
    x = torch.tensor(secret.START, dtype=torch.float64)
    path = [x]
    for _ in range(secret.STEPS):
        perturbation = secret.RHO * gradient(x) / gradient(x).norm() if rule == "sam" else 0
        x = x - secret.LR * gradient(x + perturbation)
        path.append(x)
    return torch.stack(path)


@pytest.mark.parametrize("rule", ["gd", "sam"])
def test_the_animation_shows_the_run_and_ends_with_it_if_scripts_are_off(secret, html, runs, rule):
    path, shown = iterates(secret, rule), runs[rule]
    top = [float(2 * valley_by_hand.curvatures(x)[0]) for x in path]
    np.testing.assert_allclose(shown["sharpness"], top, atol=0.006)
    cosine = [abs(float(gradient(x)[2] / gradient(x).norm())) for x in path]
    np.testing.assert_allclose(np.cos(np.radians(shown["angle"])), cosine, atol=0.002)
    drawn = np.array([shown["x"], shown["y"]])[:, :: secret.PARTS]  # at the iterates
    np.testing.assert_allclose((drawn[0] - 206 - 14 * path[:, 1].numpy()) / 246, path[:, 2], atol=0.001)
    assert np.isfinite(drawn).all()
    end = f"{shown['x'][-1]} {shown['y'][-1]}"
    assert f'data-part="{rule} ball" transform="translate({end})"' in html
    label = re.search(r'<svg [^>]*role="img" aria-label="([^"]+)"', html)[1]
    assert f"λ₁ = {shown['sharpness'][-1]:.0f}" in label
