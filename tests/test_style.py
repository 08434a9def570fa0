"""The palette, light and dark: contrast (WCAG 2.2), colour blindness (Machado et al. 2009), never colour alone."""

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
from samviz.figures import dark, style
from samviz.figures.dark import DARK, GROUND, LETTERS

PACKAGE = Path(samviz.__file__).parent
LINES = ("INK", "GREY", "BLUE", "SKY", "GREEN", "VERMILION", "ORANGE", "PURPLE")
FURNITURE = {style.GRID, "#9aa5b1", "#dbe6ef"}  # axes, grids, level sets: nothing is read from their colour
APART = 10.0  # ΔE between two colours of lines; 2.3 is just noticed
# Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b|rgba?\([\d., ]+\)")


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
    """CIE L*a*b* of a colour as somebody sees it."""
    t = XYZ @ np.clip(VISION[vision] @ linear(colour), 0, 1) / XYZ.sum(1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def key(colour):
    """How the table names a colour; rgba(…) goes by its hue."""
    if not colour.startswith("rgb"):
        return colour if colour in DARK else colour.lower()
    return "#" + "".join(f"{int(v):02x}" for v in colour[colour.index("(") + 1 : -1].split(",")[:3])


def test_the_ruler_measures_what_is_known():
    assert contrast("#000000", "white") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)  # the lightest grey for words, WCAG
    np.testing.assert_allclose(lab("white", "tritanopia"), [100, 0, 0], atol=0.05)
    np.testing.assert_allclose(lab("#ff0000", "normal"), [53.24, 80.09, 67.20], atol=0.05)


@pytest.mark.parametrize("name", LINES)
def test_lines_have_a_contrast_of_3_and_words_of_4_5(name):
    line = getattr(style, name)
    word = style.WORDS.get(line, line)
    assert contrast(line, "white") >= 3
    assert contrast(word, "white") >= 4.5
    assert contrast(DARK[line], GROUND) >= 4.5
    assert DARK[word] == DARK[line]


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("ground", ["light", "dark"])
def test_any_two_lines_are_told_apart(vision, ground):
    seen = {name: getattr(style, name) for name in LINES}
    if ground == "dark":
        seen = {name: DARK[colour] for name, colour in seen.items()}
    near = {
        (a, b): distance
        for (a, one), (b, two) in combinations(seen.items(), 2)
        if (distance := float(np.linalg.norm(lab(one, vision) - lab(two, vision)))) < APART
    }
    assert near == {}


@pytest.mark.parametrize("ramp", ["BLUES", "PALE"])
def test_ramps_go_one_way_and_fade_into_their_ground(ramp):
    light = [colour for _, colour in getattr(style, ramp)]
    for colours, ground in ((light, "white"), ([DARK[colour] for colour in light], GROUND)):
        from_ground = [contrast(colour, ground) for colour in colours]
        assert from_ground == sorted(from_ground, reverse=True)
        assert from_ground[0] > 1.35 * from_ground[-1]
        assert from_ground[-1] < 1.15


def mixed(ramp, share):
    """The colour at a share of a ramp, as plotly mixes it."""
    places, colours = zip(*ramp)
    parts = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours])
    return "#" + "".join(f"{round(np.interp(share, places, parts[:, i])):02x}" for i in range(3))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.2, 0.4)], ids=["all shades", "where black follows white"])
def test_numbers_are_read_on_every_cell(low, high):
    from test_heatmap import made

    from samviz.figures import heatmap_figure

    def shade(values):
        values[:] = np.linspace(low, high, values.size).reshape(values.shape)

    found = made(np.geomspace(0.01, 1, 9), np.geomspace(0.01, 1, 10), seeds=(0,), cos_eigenspace=shade)
    traces = {trace["name"]: trace for trace in heatmap_figure(found)["data"]}
    cells, letters = traces["alignment"], traces["alignment numbers"]["textfont"]["color"]
    assert (cells["zmin"], cells["zmax"]) == (0, 1)
    light = cells["colorscale"]
    dusk = [(at, DARK[colour]) for at, colour in light]
    for share, letter in zip(cells["z"].ravel(), letters, strict=True):
        assert contrast(mixed(light, share), letter) >= 4.5, share
        assert contrast(mixed(dusk, share), LETTERS if letter == "white" else DARK[letter]) >= 4.5, share


def literals():
    """Every colour written in the code of a figure, by where it stands; a page has both of its themes in itself."""
    for file in sorted((PACKAGE / "figures").glob("*.py")):
        if file.name not in ("page.py", "dark.py"):
            for found in COLOUR.findall(file.read_text(encoding="utf-8")):
                yield file.name, found


def test_every_colour_has_a_dark_counterpart():
    found = list(literals())
    assert len({file for file, _ in found}) >= 5
    assert [(file, colour) for file, colour in found if key(colour) not in DARK] == []
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in DARK.values())


def test_the_controls_and_the_pages_have_the_palette_of_the_figures():
    css = (PACKAGE / "lab" / "view.css").read_text(encoding="utf-8").lower()
    for name, colour in (("accent", style.BLUE), ("ink", style.INK), ("soft", style.GREY)):
        assert f"--{name}: {colour.lower()}" in css, name
    assert f"font: 14px/1.4 {style.FONT.lower()};" in css
    page = (PACKAGE / "figures" / "page.py").read_text(encoding="utf-8").lower()
    for colour in (style.BLUE, style.INK, DARK[style.INK], dark.GROUND):
        assert colour.lower() in page


# the figures themselves, from small runs


def of_the_lab():
    from samviz.lab import Lab
    from samviz.problems import mlp, valley

    drawn = {}
    for name, problem, lr in (("sine", mlp([1, 8, 1], data="sine"), 0.05), ("valley", valley(), 0.02)):
        lab = Lab(problem, lr=lr, rho=0.0)
        lab.run(40)
        lab.rho = 0.05
        lab.run(60)
        drawn[f"lab, {name}"] = lab.figure
    return drawn


def of_the_panels():
    return {name: settled_panel(name).figure for name in samviz.panels.__all__}


def of_records():
    from samviz.dynamics import History, sweep
    from samviz.figures import density_figure, heatmap_figure, probe_figure, seeds_figure
    from samviz.geometry import spectral_density, top_eigenpairs
    from samviz.problems import mlp, quadratic

    runs = []
    for seed in range(2):
        run = History()
        for step in range(3):
            row = {"step": step, "loss": 1.0 + seed, "eigenvalues": np.array([4.0, 3.0, 2.0]) + seed, "lr": 0.1}
            row |= {"cos_v1": 0.8, "cos_eigenspace": 0.9, "rayleigh": 0.85, "trace": 9.0, "trace_error": 0.1}
            run.append(row | {"accuracy": 0.9, "valid_loss": 1.5, "worst": 0.3, "ascent": 0.2, "average": 0.1})
        runs.append(run)
    problem = mlp([1, 8, 1], data="sine")
    x = problem.initial()[None]
    found = sweep(quadratic([4.0, 1.0]), lr=[0.1, 0.2], rho=[0.1, 0.2], seeds=2, steps=5)
    density = spectral_density(problem, x)
    return {
        "probe": probe_figure(runs[0], [(2, density)], rho=0.1, changes=[(1, "ρ 0 → 0.1")]),
        "density": density_figure(density, top_eigenpairs(problem, x, k=3)),
        "seeds": seeds_figure(dict.fromkeys(("SGD", "SAM", "m-SAM", "ASAM", "USAM"), runs), ["loss"]),
        "heat maps": heatmap_figure(found),
    }


def of_claims():
    from samviz.claims import Curve, Plot
    from samviz.figures import claim_figure

    x = np.linspace(1, 2, 5)
    curves = [
        curve for i in range(6) for curve in (Curve(f"{i}", x, x + i), Curve("predicted", x, x + i, predicted=True))
    ]
    return {"claim": claim_figure(Plot("ρ", "λ₁", curves))}


@pytest.fixture(scope="module")
def figures():
    torch.manual_seed(0)
    return of_the_lab() | of_the_panels() | of_records() | of_claims()


def listed(value, count):
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value] * count


def marks(trace):
    """(colour, what else tells it) for each line, symbol and word of a trace."""
    mode = trace.get("mode", "lines" if trace["type"] != "bar" else "markers")
    line, marker, font = trace.get("line", {}), trace.get("marker", {}), trace.get("textfont", {})
    count = len(trace["x"])
    if "lines" in mode and line.get("width", 2) > 0 and "fill" not in trace:
        yield line.get("color"), ("line", line.get("dash", "solid"), round(2 * line.get("width", 2)))
    if "markers" in mode and trace["type"] != "bar":
        edge = marker.get("line", {}).get("color")
        for colour, symbol in zip(listed(marker.get("color"), count), listed(marker.get("symbol", "circle"), count)):
            yield edge if colour in ("white", None) else colour, ("marker", symbol, str(marker.get("size")))
    if "text" in mode and "text" in trace:
        for colour, text in zip(listed(font.get("color", style.INK), count), listed(trace["text"], count)):
            if text:
                yield colour, ("word", re.sub("<.*?>", "", text).strip())


def drawn(plain):
    """All (axes, colour, what else) of a figure."""
    for trace in plain["data"]:
        if trace["type"] not in ("contour", "heatmap", "surface"):
            at = trace.get("scene") or (trace.get("xaxis", "x"), trace.get("yaxis", "y"))
            for colour, what in marks(trace):
                yield at, colour, what
    for a in plain["layout"].get("annotations", ()):
        yield (a.get("xref"), a.get("yref")), a.get("font", {}).get("color", style.INK), ("word", a["text"])
    for name, scene in plain["layout"].items():
        if name.startswith("scene"):
            for part in ("xaxis", "yaxis", "zaxis"):
                words = scene[part]["title"]
                yield name, words["font"].get("color", style.INK), ("word", words["text"])


def test_every_word_is_read_and_every_line_is_seen(figures):
    pale = set()
    for name, plain in figures.items():
        for _, colour, what in drawn(plain):
            assert colour in DARK, (name, colour, what)
            least = 4.5 if what[0] == "word" else 3
            if colour != "white" and colour not in FURNITURE:  # white: on the dark cells of a map
                seen = min(contrast(colour, "white"), contrast(DARK[colour], GROUND))
                pale |= {(name, colour, what)} if seen < least else set()
    assert pale == set()


def alike(plain):
    """Pairs of colours in one panel that nothing but the colour tells apart."""
    looks, lines = {}, {word: line for line, word in style.WORDS.items()}
    for at, colour, what in drawn(plain):
        looks.setdefault(at, {}).setdefault(lines.get(colour, colour), set()).add(what)
    pairs = ((at, colours, pair) for at, colours in looks.items() for pair in combinations(sorted(colours), 2))
    return {(at, *pair) for at, colours, pair in pairs if colours[pair[0]] == colours[pair[1]]}


def test_nothing_is_told_by_colour_alone(figures):
    assert {name: found for name, plain in figures.items() if (found := alike(plain))} == {}


def test_two_colours_alone_would_be_found():
    one, two = (
        {"type": "scatter", "x": [0], "marker": {"color": c}, "mode": "markers"} for c in (style.BLUE, style.INK)
    )
    assert alike({"data": [one, two], "layout": {}}) == {(("x", "y"), *sorted((style.BLUE, style.INK)))}
