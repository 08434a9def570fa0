"""The animation of README: the four needles of the square, from the start of the runs to their ends.

`python square.py FILE.webp` writes it with Playwright and Pillow.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np

from samviz.figures import figure
from samviz.figures.drawing import end_labels, note
from samviz.figures.style import INK
from samviz.panels.square import COLORS, LABELS, STEPS, needle, square_figure

LR, RATIO = 0.001, 1 / 3
WIDTH, HEIGHT = 860, 640
FRAMES = 10  # per second
SCENES = (  # seconds, first and last step, and a caption
    (1.4, 10, 10, "Four descents start at one point of a bowl. Where does the gradient turn?"),
    (3.2, 10, 700, "At first every needle turns to v_M: the steep component shrinks faster."),
    (2.8, 700, 762, "<b>SAM’s</b> needle swings to v₁. That of <b>exact L_Asc</b> follows …"),
    (2.2, 762, 840, "… and is thrown back to v_M, by the term that SAM drops (the arc)."),
    (1.9, 840, STEPS, "With the worst direction, the needle turns to v₁, slowly."),
    (3.5, STEPS, STEPS, "<b>Two wrongs make a right:</b> SAM lowers λ₁, as L_Max does."),
)


def moments() -> list[tuple[int, str]]:
    """Return the step and the caption of each frame; the parity of the step changes twice a second, as on a slow cycle."""
    found: list[tuple[int, str]] = []
    for seconds, first, last, caption in SCENES:
        spaced = np.linspace if first == 700 or first == 762 else np.geomspace
        for step in spaced(first, last, round(seconds * FRAMES)):
            parity = len(found) // 5 % 2 if step > 740 else 0
            found.append((min(STEPS, 2 * round(step / 2) - parity), caption))
    return found


def frame(step: int, caption: str) -> dict[str, Any]:
    """Return the figure of the panel at a step, with the curves up to that step, labels at their ends, and a caption."""
    plain = square_figure(("ascent", "dropped"), step if step > 10 else None, LR, RATIO)
    layout = plain["layout"]
    layout["annotations"] = [a for a in layout["annotations"] if a["xref"] != "x2"]
    place = {"xanchor": "center", "font": {"size": 19, "color": INK}}
    layout["annotations"].append(note(caption, 0.5, 1.1, "paper", "paper") | place)
    layout |= {"width": WIDTH, "height": HEIGHT, "margin": layout["margin"] | {"t": 76}}
    traces = []
    for trace in plain["data"]:
        if trace["name"].startswith("angle "):
            trace = trace | {"y": np.where(np.asarray(trace["x"]) <= step, trace["y"], np.nan)}
        elif trace["name"] == "signs" and step < 840:
            trace = trace | {"text": ["", ""]}
        if trace["name"] != "names":
            traces.append(trace)
    if step > 10:
        labels = [(step, float(needle(rule, LR, RATIO).angle[step]), LABELS[rule], COLORS[rule]) for rule in LABELS]
        traces.append(end_labels(labels, layout["yaxis2"], "names", 0.06, size=14) | {"xaxis": "x2", "yaxis": "y2"})
    return {"data": traces, "layout": layout}


def write(file: Path) -> None:
    """Write the animation as a WebP file, frame by frame as a browser draws it."""
    from PIL import Image
    from playwright.sync_api import sync_playwright
    from plotly.offline import get_plotlyjs

    shots: list[bytes] = []
    durations: list[int] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=which("chromium"), chromium_sandbox=False)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_content('<body style="margin: 0"><div id="graph"></div>')
        page.add_script_tag(content=get_plotlyjs())
        for moment in moments():
            plain = json.loads(figure(frame(*moment)).to_json())
            page.evaluate("plain => Plotly.react('graph', plain.data, plain.layout, {displayModeBar: false})", plain)
            shot = page.screenshot()
            if shots and shot == shots[-1]:
                durations[-1] += 1000 // FRAMES
            else:
                shots.append(shot)
                durations.append(1000 // FRAMES)
        browser.close()
    first, *others = (Image.open(BytesIO(shot)).convert("RGB") for shot in shots)
    look: dict[str, Any] = {"duration": durations, "loop": 0, "quality": 72, "method": 6, "kmin": 0, "kmax": 0}
    first.save(file, save_all=True, append_images=others, **look)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python square.py FILE.webp")
    write(Path(sys.argv[1]))
