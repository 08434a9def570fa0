"""The light and the dark palette: contrast (WCAG 2.2), colour blindness (Machado et al. 2009), never colour alone."""

import re
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import settled_panel

import samviz
import samviz.panels
from samviz import figures
from samviz.claims import Curve, Plot
from samviz.dynamics import History, sweep
from samviz.figures import style
from samviz.figures.style import DARK, DARK_PAPER
from samviz.geometry import spectral_density, top_eigenpairs
from samviz.lab import Lab
from samviz.problems import mlp, quadratic, valley

PACKAGE = Path(samviz.__file__).parent
LINES = ("INK", "GREY", "BLUE", "SKY", "GREEN", "VERMILION", "ORANGE", "PURPLE", "OLIVE", "VIOLET")
FURNITURE = {style.GRID, "#9aa5b1", "#dbe6ef"}  # axes, grids, level sets: their colour has no meaning
LEAST_DISTANCE = 10.0  # ΔE between the colours of two lines; 2.3 is just noticeable
VISION = {  # Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB
    "normal": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    "protanopia": [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
    "deuteranopia": [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881],
    "tritanopia": [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour):
    """Linear RGB of a hex colour or "white"."""
    value = "#ffffff" if colour == "white" else colour
    c = np.array([int(value[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


@cache
def contrast(a, b):
    low, high = sorted(float(linear(colour) @ XYZ[1]) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


def lab(colour, vision):
    """CIE L*a*b* of a colour for a kind of vision."""
    t = XYZ @ np.clip(np.reshape(VISION[vision], (3, 3)) @ linear(colour), 0, 1) / XYZ.sum(1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("name", LINES)
def test_lines_have_a_contrast_of_3_and_text_of_4_5(name):
    line = getattr(style, name)
    text = style.TEXT_COLORS.get(line, line)
    assert contrast(line, "white") >= 3
    assert contrast(text, "white") >= 4.5
    assert contrast(DARK[line], DARK_PAPER) >= 4.5
    assert DARK[text] == DARK[line]


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colours_of_any_two_lines_can_be_distinguished(vision, theme):
    colours = [getattr(style, name) for name in LINES]
    points = [lab(DARK[colour] if theme == "dark" else colour, vision) for colour in colours]
    pairs = combinations(zip(LINES, points), 2)
    assert [(a, b) for (a, one), (b, two) in pairs if np.linalg.norm(one - two) < LEAST_DISTANCE] == []


def test_the_controls_and_the_pages_have_the_palette_of_the_figures():
    css = (PACKAGE / "lab" / "widget.css").read_text(encoding="utf-8").lower()
    for name, colour in (("accent", style.BLUE), ("ink", style.INK), ("soft", style.GREY)):
        assert f"--{name}: {colour.lower()}" in css, name
    assert f"font: 14px/1.4 {style.FONT.lower()};" in css
    page = (PACKAGE / "figures" / "page.html").read_text(encoding="utf-8").lower()
    for colour in (style.BLUE, style.INK, DARK[style.INK], DARK_PAPER):
        assert colour.lower() in page


@pytest.fixture(scope="module")
def drawn():
    torch.manual_seed(0)
    result = {name: settled_panel(name).figure for name in samviz.panels.__all__}
    for name, problem, lr in (("sine", mlp([1, 8, 1], data="sine"), 0.05), ("valley", valley(), 0.02)):
        lab = Lab(problem, lr=lr, rho=0.0).run(40)
        lab.rho = 0.05
        result[f"lab, {name}"] = lab.run(60).figure
    runs = [History(), History()]
    for i in range(6):
        row = {"step": i // 2, "loss": 1.0 + i % 2, "eigenvalues": np.array([4.0, 3.0, 2.0]) + i % 2, "lr": 0.1}
        row |= {"cos_v1": 0.8, "cos_eigenspace": 0.9, "rayleigh": 0.85, "trace": 9.0, "trace_error": 0.1}
        row |= {"accuracy": 0.9, "valid_loss": 1.5, "worst": 0.3, "ascent": 0.2, "average": 0.1}
        runs[i % 2].append(row)
    problem = mlp([1, 8, 1], data="sine")
    point = problem.initial()[None]
    density = spectral_density(problem, point)
    x = np.linspace(1, 2, 5)
    curves = [Curve("predicted" if i % 2 else f"{i}", x, x + i // 2, predicted=bool(i % 2)) for i in range(12)]
    return result | {
        "probe": figures.probe_figure(runs[0], [(2, density)], rho=0.1, changes=[(1, "ρ 0 → 0.1")]),
        "density": figures.density_figure(density, top_eigenpairs(problem, point, k=3)),
        "seeds": figures.seeds_figure(dict.fromkeys(("SGD", "SAM", "m-SAM", "ASAM", "USAM"), runs), ["loss"]),
        "heat maps": figures.heatmap_figure(
            sweep(quadratic([4.0, 1.0]), lr=[0.1, 0.2], rho=[0.1, 0.2], seeds=2, steps=5)
        ),
        "claim": figures.claim_figure(Plot("ρ", "λ₁", curves)),
    }


def listed(value, count):
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value] * count


def looks_of(trace):
    """(colour, every other distinction) of each line, mark and text of a trace."""
    mode = trace.get("mode", "lines" if trace["type"] != "bar" else "")
    line, marker, font = trace.get("line", {}), trace.get("marker", {}), trace.get("textfont", {})
    count = len(trace["x"])
    if "lines" in mode and line.get("width", 2) > 0 and "fill" not in trace:
        yield line.get("color"), ("line", line.get("dash", "solid"), round(2 * line.get("width", 2)))
    if "markers" in mode:
        edge = marker.get("line", {}).get("color")
        for colour, symbol in zip(listed(marker.get("color"), count), listed(marker.get("symbol", "circle"), count)):
            yield edge if colour in ("white", None) else colour, ("marker", symbol, str(marker.get("size")))
    if "text" in mode:
        for colour, text in zip(listed(font.get("color", style.INK), count), listed(trace["text"], count)):
            if text:
                yield colour, ("text", re.sub("<.*?>", "", text).strip())


def looks(plain):
    """(axes, colour, every other distinction) of all that a figure contains."""
    for trace in plain["data"]:
        if trace["type"] not in ("contour", "heatmap", "surface"):
            axes = trace.get("scene") or (trace.get("xaxis", "x"), trace.get("yaxis", "y"))
            yield from ((axes, *look) for look in looks_of(trace))
    for a in plain["layout"].get("annotations", ()):
        yield (a.get("xref"), a.get("yref")), a.get("font", {}).get("color", style.INK), ("text", a["text"])
    for name, scene in plain["layout"].items():
        if name.startswith("scene"):
            for title in (scene[axis]["title"] for axis in ("xaxis", "yaxis", "zaxis")):
                yield name, title["font"].get("color", style.INK), ("text", title["text"])


def test_every_text_and_every_line_has_enough_contrast(drawn):
    pale = set()
    for name, plain in drawn.items():
        for _, colour, what in looks(plain):
            assert colour in DARK, (name, colour, what)
            if colour != "white" and colour not in FURNITURE:  # white: on the dark cells of a map
                least = min(contrast(colour, "white"), contrast(DARK[colour], DARK_PAPER))
                pale |= {(name, colour, what)} if least < (4.5 if what[0] == "text" else 3) else set()
    assert pale == set()


def only_colour_differs(plain):
    """Pairs of colours in one panel that have no other distinction."""
    found, lines = {}, {text: line for line, text in style.TEXT_COLORS.items()}
    for axes, colour, what in looks(plain):
        found.setdefault(axes, {}).setdefault(lines.get(colour, colour), set()).add(what)
    pairs = ((axes, colours, pair) for axes, colours in found.items() for pair in combinations(sorted(colours), 2))
    return {(axes, *pair) for axes, colours, pair in pairs if colours[pair[0]] == colours[pair[1]]}


def test_no_distinction_is_by_colour_alone(drawn):
    assert {name: pairs for name, plain in drawn.items() if (pairs := only_colour_differs(plain))} == {}
    one, two = ({"type": "scatter", "x": [0], "marker": {"color": c}, "mode": "markers"} for c in ("#000000", "white"))
    two["marker"]["color"] = style.BLUE
    assert only_colour_differs({"data": [one, two], "layout": {}}) == {(("x", "y"), "#000000", style.BLUE)}
