"""A figure as an HTML page that needs neither network nor kernel."""

from __future__ import annotations

import base64
import json
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from samviz.figures.dark import recolour_js
from samviz.figures.style import FONT

SIZE = 1100, 450  # pixels, of a figure that does not say


def page(title: str, plain: dict[str, Any], *, before: str = "", after: str = "") -> str:
    """A figure as a page, with a play button and a slider when it has named frames and no controls of its own.

    It is dark where its reader's system is.

    Args:
        title: plain text; also what those who cannot see the figure are told.
        plain: plotly JSON, as every `..._figure` and `replay` give it.
        before: HTML above the figure.
        after: HTML below it.

    Returns:
        HTML.
    """
    from plotly.io import to_html

    layout = plain.get("layout", {})
    names = [frame["name"] for frame in plain.get("frames", []) if frame.get("name")]
    if layout.get("sliders") or layout.get("updatemenus"):
        names = []
    play = PLAY.replace("{names}", json.dumps(names).replace("<", "\\u003c")) if names else ""
    drawn = to_html(
        coded(plain),
        config={"displaylogo": False, "showSendToCloud": False},
        auto_play=False,
        post_script=recolour_js() + PAINT + play,
        full_html=False,
        default_height=f"{SIZE[1]}px",
        validate=False,
    )
    last = len(names) - 1
    controls = (
        '<div class="play"><button type="button">▶ Play</button>'
        f'<input type="range" max="{last}" value="{last}" aria-label="picture">'
        '<output id="told" aria-live="off"></output></div>'
    )
    return PAGE.format(
        title=escape(title),
        before=before,
        after=after,
        controls=controls if names else "",
        described=' aria-describedby="told"' if names else "",
        drawn=drawn,
        width=layout.get("width") or SIZE[0],
        font=FONT,
    )


def coded(node: Any, lines: str = "f8") -> Any:
    """A tree as JSON has it: arrays in base64, as plotly.js reads them, planes in single precision; null for NaN.

    Args:
        node: plain plotly JSON.
        lines: the precision of arrays of one dimension, "f8" or "f4".

    Returns:
        A copy.

    >>> coded({"y": np.array([1.0, np.nan])})      # short ones are lists, as a range must be
    {'y': [1.0, None]}
    """
    if isinstance(node, dict):
        return {key: coded(value, lines) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [coded(value, lines) for value in node]
    if isinstance(node, np.generic):
        return coded(node.item(), lines)
    if not isinstance(node, np.ndarray):
        return None if isinstance(node, float) and not isfinite(node) else node
    if node.ndim not in (1, 2) or node.size < 4 or node.dtype.kind not in "iuf":
        return coded(node.tolist(), lines)
    kind, more = (lines, {}) if node.ndim == 1 else ("f4", {"shape": "{}, {}".format(*node.shape)})
    return {"dtype": kind, "bdata": base64.b64encode(node.astype(f"<{kind}").tobytes()).decode(), **more}


PAINT = """
const graph = document.getElementById("{plot_id}"), dark = matchMedia("(prefers-color-scheme: dark)");
const light = structuredClone({ data: graph.data, layout: graph.layout, frames: graph._transitionData._frames });
const paint = () => { // a copy, since plotly.js writes into what it draws
  const fresh = structuredClone(light);
  return Plotly.react(graph, dark.matches ? recolour(fresh) : fresh);
};
let painting = dark.matches ? paint() : Promise.resolve();
dark.addEventListener("change", () => { painting = paint(); });
"""
PLAY = (Path(__file__).parent / "replay.js").read_text(encoding="utf-8")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
:root {{ --ink: #1b2733; --ground: white; --accent: #0072b2; --wrong: #b3261e; color-scheme: light dark }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #dfe6ee; --ground: #14191f; --accent: #3f97e8; --wrong: #ff8a80 }}
}}
body {{ font: 16px/1.5 {font}; color: var(--ink); background: var(--ground) }}
body {{ max-width: {width}px; margin: 2em auto; padding: 0 1em }} .fails {{ color: var(--wrong); font-weight: bold }}
table {{ border-collapse: collapse; margin: 1em 0 }} td, th {{ text-align: left; padding: 3px 14px 3px 0 }}
figure {{ margin: 1em 0 }} .graph {{ overflow-x: auto }} .plotly-graph-div {{ min-width: 560px }}
:focus-visible {{ outline: 3px solid var(--accent); outline-offset: 2px }}
.modebar:focus-within {{ opacity: 1 !important }}
.play {{ display: flex; align-items: center; flex-wrap: wrap; gap: 4px 16px; padding: 4px 0 }}
.play input {{ flex: 1 1 8em; min-width: 0; height: 28px; accent-color: var(--accent) }}
.play button {{ font: inherit; font-weight: 600; width: 7em; min-height: 36px; border: 0; border-radius: 6px }}
.play button {{ color: var(--ground); background: var(--accent); cursor: pointer }}
.play output {{ min-width: 7em; font-weight: 600 }}
</style></head><body>
{before}<figure aria-label="{title}"{described}>{controls}<div class="graph">{drawn}</div></figure>{after}
</body></html>
"""
