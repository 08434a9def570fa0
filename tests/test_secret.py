"""The book's moving picture: two honest runs, in a fragment that needs nothing else."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

SOURCE = Path(__file__).parents[1] / "notebooks" / "book" / "secret.py"


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("secret", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def html(module):
    return module.secret()


@pytest.fixture(scope="module")
def runs(html):
    """The numbers that the picture's script moves through."""
    return json.JSONDecoder().raw_decode(html, html.index('{"gd":'))[0]


def loss(x):
    first, second = x[0] ** 2 + 6 * x[1] ** 2 + 8, 4 * (1 - x[0]) ** 2 + (1 - x[1]) ** 2 + 1
    return first * x[2] ** 2 + second * x[3] ** 2


def slope(x):
    return torch.func.grad(loss)(x)


def walked(module, rule):
    """The run by autograd and Eq. 3, (steps + 1, 4)."""
    x = torch.tensor(module.START, dtype=torch.float64)
    path = [x]
    for _ in range(module.STEPS):
        ahead = module.RHO * slope(x) / slope(x).norm() if rule == "sam" else 0
        x = x - module.LR * slope(x + ahead)
        path.append(x)
    return torch.stack(path)


@pytest.mark.parametrize("rule", ["gd", "sam"])
def test_the_picture_is_the_run(module, runs, rule):
    path, seen = walked(module, rule), runs[rule]
    top = [float(2 * (x[0] ** 2 + 6 * x[1] ** 2 + 8)) for x in path]
    np.testing.assert_allclose(seen["sharpness"], top, atol=0.006)
    cosine = [abs(float(slope(x)[2] / slope(x).norm())) for x in path]
    np.testing.assert_allclose(np.cos(np.radians(seen["angle"])), cosine, atol=0.002)
    drawn = np.array([seen["x"], seen["y"]])[:, :: module.PARTS]  # at the iterates
    x = path.numpy()
    floor = 206 + 14 * x[:, 1]
    np.testing.assert_allclose((drawn[0] - floor) / 246, x[:, 2], atol=0.001)
    assert np.isfinite(drawn).all()


def test_it_tells_what_the_captions_say(module, runs):
    gd, sam = (np.array(runs[rule]["sharpness"]) for rule in ("gd", "sam"))
    assert np.ptp(gd[10:]) < 1  # it rests
    assert (np.diff(sam) < 0).all()
    assert sam[-1] < 17 < 50 < gd[-1]
    turned = {rule: np.cos(np.radians(runs[rule]["angle"])) for rule in runs}
    assert turned["gd"][20] < 0.01
    assert turned["sam"][22:].min() > 0.97  # where the third caption takes over
    assert turned["sam"][-1] > 0.999
    across = walked(module, "sam")[:, 2].numpy()
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
