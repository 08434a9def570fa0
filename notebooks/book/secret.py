"""The animation on the book's front page: why SAM moves to the flat part of a valley.

`python secret.py picture secret.webp` writes it as a picture for the README, with Playwright and Pillow.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import torch

from samviz.dynamics import Run
from samviz.figures import style
from samviz.figures.style import DARK, DARK_PAPER
from samviz.problems import valley

HERE = Path(__file__).parent
START = (0.0, 2.0, 0.35, 0.9)  # x₃ is drawn, across the valley; x₄ is the second steep direction
LR, RHO = 0.01, 0.4
RULES, STEPS = ("gd", "sam"), 100
RIM = 4.4  # the walls are drawn up to this loss
FRAMES = 10  # per second, of the animation in a file
PARTS = 8  # points drawn from one step to the next
PLOT = {"left": 468.0, "bottom": 356.0, "across": 1.65, "up": 1.3}  # pixels: per step, per unit of λ₁
GROUNDS = {"light": "#ffffff", "dark": DARK_PAPER}
Array = np.ndarray[Any, np.dtype[np.float64]]


def sharpness(along: Array, x1: Array | float = 0.0) -> Array:
    """Return λ₁ = 2F₁ on the valley floor."""
    return 2 * (x1**2 + 6 * along**2 + 8)


def projected(across: Array, along: Array) -> tuple[Array, Array]:
    """Return the place in the picture of a point on the walls, L = ½λ₁x₃²."""
    height = sharpness(along) / 2 * across**2
    return 206 + 246 * across + 14 * along, 356 - 78 * along - 31 * height


def trajectory(rule: str) -> dict[str, list[float]]:
    """Return a run in the paper's valley: its places in the picture, λ₁, and the angle between gradient and v₁ in degrees."""
    problem = valley()
    run = Run(problem, rule=rule, lr=LR, rho=RHO, x0=torch.tensor(START, dtype=torch.float64), device="cpu")
    points = [run.x[0].clone()]
    for _ in range(STEPS):
        run.step(1)
        points.append(run.x[0].clone())
    x = torch.stack(points)
    gradient = problem.gradient(x)[1].numpy()
    x = x.numpy()
    steps = np.arange(0, len(x) - 1 + 1e-9, 1 / PARTS)
    eased = np.floor(steps) + (1 - np.cos(np.pi * (steps % 1))) / 2  # a smooth motion from each iterate to the next
    across, along = (np.interp(eased, np.arange(len(x)), x[:, i]) for i in (2, 1))
    drawn = projected(across, along)
    sign = np.where(gradient[:, 2] < 0, -1, 1)
    rest = np.linalg.norm(gradient[:, [0, 1, 3]], axis=1) * np.sign(gradient[:, 3])
    angle = np.degrees(np.arctan2(sign * rest, np.abs(gradient[:, 2])))
    return {
        "x": np.round(drawn[0], 1).tolist(),
        "y": np.round(drawn[1], 1).tolist(),
        "sharpness": np.round(sharpness(x[:, 1], x[:, 0]), 2).tolist(),
        "angle": np.round(angle, 1).tolist(),
    }


def points(x: Any, y: Any) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y))


def walls() -> str:
    """Draw the valley as bands from its sharp end, at the back, to its flat end; sharper parts have a deeper colour."""
    along = np.linspace(2.2, -0.1, 15)
    curves = []
    for s in along:
        reach = float(np.sqrt(RIM / (sharpness(s) / 2)))
        across = np.linspace(-reach, reach, 33)
        curves.append(projected(across, np.full_like(across, s)))
    drawn = []
    for s, near, far in zip(along[1:], curves[1:], curves):
        deep = 0.06 + 0.4 * (float(sharpness(s)) - 16) / 48
        ring = points(np.append(far[0], near[0][::-1]), np.append(far[1], near[1][::-1]))
        drawn.append(f'<path class="wall" fill-opacity="{deep:.2f}" d="M{ring}Z"/>')
    drawn += [f'<polyline class="ridge" points="{points(*curve)}"/>' for curve in curves]
    floor = projected(np.zeros(2), along[[0, -1]])
    return "".join(drawn) + f'<polyline class="floor" points="{points(*floor)}"/>'


def secret() -> str:
    """Return the animation as HTML without dependencies; its script draws runs that are computed here.

    Returns:
        A fragment: a figure with an SVG, three captions, a button, its style and its script.

    Source: Theorem 4.5; the valley of Figure 1.
    """
    runs = {rule: trajectory(rule) for rule in RULES}
    names = {"ink": "INK", "soft": "GREY", "faint": "GHOST", "line": "GRID", "sam": "VERMILION", "valley": "BLUE"}
    light = {name: getattr(style, name) for name in names.values()}
    css = (HERE / "secret.css").read_text(encoding="utf-8")
    night = "; ".join(f"--{variable}: {DARK[light[name]]}" for variable, name in names.items())
    css = css.replace("DARK", f"{night}; --ground: {DARK_PAPER};").replace("FONT", style.FONT)
    for name, colour in light.items():
        css = css.replace(f": {name};", f": {colour};")
    script = (HERE / "secret.js").read_text(encoding="utf-8")
    for name, value in (("RUNS", runs), ("PARTS", PARTS), ("PLOT", PLOT)):
        script = script.replace(name, json.dumps(value, separators=(",", ":")), 1)
    first, last = runs["gd"]["sharpness"][-1], runs["sam"]["sharpness"][-1]
    return PICTURE.format(
        css=css, script=script, walls=walls(), first=first, last=last, lr=LR, rho=RHO, steps=STEPS, **still(runs)
    )


def still(runs: dict[str, dict[str, list[float]]]) -> dict[str, str]:
    """Return what is shown without a script: the ends of both runs."""
    parts = {}
    for rule, run in runs.items():
        x, y = run["x"], run["y"]
        level = np.array(run["sharpness"])
        parts |= {f"{rule}_trail": points(x, y), f"{rule}_at": f"{x[-1]} {y[-1]}"}
        steps = np.arange(len(level))
        parts[f"{rule}_line"] = points(PLOT["left"] + PLOT["across"] * steps, PLOT["bottom"] - PLOT["up"] * level)
    return parts


def picture(file: Path, theme: str = "light") -> None:
    """Write the animation as a WebP file, frame by frame as a browser draws it.

    Args:
        file: where; ends in .webp.
        theme: "light" or "dark".
    """
    from PIL import Image
    from playwright.sync_api import sync_playwright

    style = f"margin: 0; padding: 12px; box-sizing: border-box; width: 760px; background: {GROUNDS[theme]}"
    body = f'<body data-theme="{theme}" style="{style}">{secret()}<style>.secret figcaption {{ display: none }}</style></body>'
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=which("chromium"), chromium_sandbox=False)
        page = browser.new_page(viewport={"width": 760, "height": 400}, reduced_motion="reduce")
        page.set_content(f"<!doctype html>{body}")
        count = round(FRAMES * page.evaluate("document.querySelector('.secret').seconds"))
        shots: list[bytes] = []
        durations: list[int] = []
        for i in range(count):
            page.evaluate(f"document.querySelector('.secret').seek({i / FRAMES})")
            shot = page.locator("body").screenshot()
            if shots and shot == shots[-1]:  # nothing moves
                durations[-1] += round(1000 / FRAMES)
            else:
                shots.append(shot)
                durations.append(round(1000 / FRAMES))
        browser.close()
    first, *others = (Image.open(BytesIO(shot)) for shot in shots)
    look = {"duration": durations, "loop": 0, "quality": 45, "kmin": 0, "kmax": 0}  # no key frames: half the size
    first.save(file, save_all=True, append_images=others, **look)


PICTURE = """<figure class="secret"><style>{css}</style>
<svg viewBox="0 0 640 392" role="img" aria-label="Gradient descent rests in the sharp part of a valley, at λ₁ = {first:.0f}.\
 SAM bounces across it along v₁ and slides along the floor to the flat part, at λ₁ = {last:.0f}.">
{walls}
<text x="237" y="70" text-anchor="middle">sharp</text><text x="290" y="380">flat</text>
<polyline class="trail gd-line" data-part="gd trail" points="{gd_trail}"/>
<polyline class="trail" data-part="sam trail" points="{sam_trail}"/>
<g class="gd" data-part="gd ball" transform="translate({gd_at})"><rect class="ball" x="-8" y="-8" width="16" height="16"/>
<text class="halo" x="-14" y="-8" text-anchor="end">gradient descent</text></g>
<g class="sam" data-part="sam ball" transform="translate({sam_at})"><circle class="ball" r="9"/>
<text class="halo" x="16" y="6">SAM</text></g>
<text x="468" y="16" class="soft">∇L under</text><text x="468" y="38" class="name sam" data-part="who">SAM</text>
<g transform="translate(540 112)"><circle class="axis" r="58"/><line class="axis" x1="-58" x2="58"/>
<line class="needle sam-line" data-part="needle" x1="-54" x2="54"/></g><text x="604" y="118">v₁</text>
<text x="468" y="210" class="soft">|cos(∇L, v₁)|</text><text x="640" y="212" text-anchor="end" class="number sam" data-part="cosine">1.00</text>
<text x="468" y="254" class="soft">sharpness λ₁</text>
<text x="640" y="256" text-anchor="end" class="number sam" data-part="sharpness">{last:.0f}</text>
<path class="axis" d="M468,268V356H636"/><text x="636" y="378" text-anchor="end" class="soft">step</text>
<polyline class="gd-line" data-part="gd line" points="{gd_line}"/><polyline class="sam-line"
 data-part="sam line" points="{sam_line}"/>
</svg>
<ol><li><b>Gradient descent rests.</b> It stops where it meets the floor, however sharp the valley is there: λ₁ = {first:.0f}.</li>
<li><b>SAM cannot rest.</b> Its gradient is taken at distance ρ uphill, so each step jumps over the floor. Jump by jump the\
 gradient turns to v₁, the direction in which\
 the valley is sharpest.</li>
<li><b>Along v₁, it slides.</b> Every bounce also moves it a little to where λ₁ is smaller, until the valley is flat:\
 λ₁ = {last:.0f}.</li></ol>
<figcaption><button type="button" hidden>▶ Play</button><small>Both runs are samviz’s, in the valley of the paper’s Figure 1,\
 as computed: η = {lr}, ρ = {rho}, {steps} steps, with a swing\
 drawn from each iterate to the next. The second steep direction, x₄, is seen only in the gradient’s angle.</small></figcaption>
<script>{script}</script></figure>
"""

if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[1] != "picture":
        sys.exit("usage: python secret.py picture FILE.webp [light|dark]")
    picture(Path(sys.argv[2]), *sys.argv[3:])
