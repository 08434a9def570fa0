"""The book's moving picture: two honest runs, in a fragment that needs nothing else."""

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
    """The numbers that the picture's script moves through."""
    return json.JSONDecoder().raw_decode(html, html.index('{"gd":'))[0]


def slope(x):
    return torch.func.grad(valley_by_hand.loss)(x)


def walked(secret, rule):
    """The run by autograd and Eq. 3, (steps + 1, 4)."""
    x = torch.tensor(secret.START, dtype=torch.float64)
    path = [x]
    for _ in range(secret.STEPS):
        ahead = secret.RHO * slope(x) / slope(x).norm() if rule == "sam" else 0
        x = x - secret.LR * slope(x + ahead)
        path.append(x)
    return torch.stack(path)


@pytest.mark.parametrize("rule", ["gd", "sam"])
def test_the_picture_is_the_run(secret, runs, rule):
    path, seen = walked(secret, rule), runs[rule]
    top = [float(2 * valley_by_hand.curvatures(x)[0]) for x in path]
    np.testing.assert_allclose(seen["sharpness"], top, atol=0.006)
    cosine = [abs(float(slope(x)[2] / slope(x).norm())) for x in path]
    np.testing.assert_allclose(np.cos(np.radians(seen["angle"])), cosine, atol=0.002)
    drawn = np.array([seen["x"], seen["y"]])[:, :: secret.PARTS]  # at the iterates
    x = path.numpy()
    floor = 206 + 14 * x[:, 1]
    np.testing.assert_allclose((drawn[0] - floor) / 246, x[:, 2], atol=0.001)
    assert np.isfinite(drawn).all()


def test_it_tells_what_the_captions_say(secret, runs):
    gd, sam = (np.array(runs[rule]["sharpness"]) for rule in ("gd", "sam"))
    assert np.ptp(gd[10:]) < 1  # it rests
    assert (np.diff(sam) < 0).all()
    assert sam[-1] < 17 < 50 < gd[-1]
    turned = {rule: np.cos(np.radians(runs[rule]["angle"])) for rule in runs}
    assert turned["gd"][20] < 0.01
    assert turned["sam"][22:].min() > 0.97  # where the third caption takes over
    assert turned["sam"][-1] > 0.999
    across = walked(secret, "sam")[:, 2].numpy()
    assert (across[1:-1] * across[2:] < 0).all()  # over the floor with every step


def test_it_needs_nothing_else(html):
    assert len(html.encode()) < 150_000
    assert not re.search(r"https?:|src=|@import|url\(", html)
    assert html.startswith('<figure class="secret">')
    assert html.count("<script>") == html.count("</script>") == 1
    left = [
        word for word in ("INK", "RUNS", "PARTS", "PLOT", "DARK", "FONT") if f": {word}" in html or f"= {word}" in html
    ]
    assert left == []


def test_it_is_told_to_those_who_do_not_see_it(html, runs):
    label = re.search(r'<svg [^>]*role="img" aria-label="([^"]+)"', html)[1]
    for rule in ("gd", "sam"):
        assert f"λ₁ = {runs[rule]['sharpness'][-1]:.0f}" in label
    assert html.count("<li>") == 3


def test_without_a_script_it_shows_the_end(html, runs):
    for rule in ("gd", "sam"):
        end = f"{runs[rule]['x'][-1]} {runs[rule]['y'][-1]}"
        assert f'data-part="{rule} ball" transform="translate({end})"' in html
