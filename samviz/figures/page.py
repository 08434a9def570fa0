"""A figure as an HTML page that needs neither network nor kernel."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 1100, 450  # pixels, of a figure that does not say


def page(title: str, plain: dict[str, Any], *, before: str = "", after: str = "") -> str:
    """A figure as a page, with a play button and a slider when it has named frames and no controls of its own.

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
    drawn = to_html(
        coded(plain),
        config={"displaylogo": False},
        auto_play=False,
        post_script=PLAY.replace("{names}", json.dumps(names).replace("<", "\\u003c")) if names else None,
        full_html=False,
        default_height=f"{SIZE[1]}px",
        validate=False,
    )
    last = len(names) - 1
    controls = (
        '<div class="play"><button type="button">▶ Play</button>'
        f'<input type="range" max="{last}" value="{last}" aria-label="picture"><output></output></div>'
    )
    return PAGE.format(
        title=escape(title),
        before=before,
        after=after,
        controls=controls if names else "",
        drawn=drawn,
        width=layout.get("width") or SIZE[0],
    )


def coded(node: Any) -> Any:
    """A tree with its arrays in base64, as plotly.js reads them: lines to the last bit, planes in single precision.

    >>> coded({"y": np.array([1.0, 2.0])})      # short ones are lists, as a range must be
    {'y': [1.0, 2.0]}
    """
    if isinstance(node, dict):
        return {key: coded(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [coded(value) for value in node]
    if not isinstance(node, np.ndarray):
        return node
    if node.ndim not in (1, 2) or node.size < 4 or node.dtype.kind not in "iuf":
        return node.tolist()
    kind, more = ("f8", {}) if node.ndim == 1 else ("f4", {"shape": "{}, {}".format(*node.shape)})
    return {"dtype": kind, "bdata": base64.b64encode(node.astype(f"<{kind}").tobytes()).decode(), **more}


PLAY = (Path(__file__).parent / "replay.js").read_text(encoding="utf-8")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1b2733; background: white; color-scheme: light }}
body {{ max-width: {width}px; margin: 2em auto; padding: 0 1em }} .fails {{ color: #b3261e; font-weight: bold }}
table {{ border-collapse: collapse; margin: 1em 0 }} td, th {{ text-align: left; padding: 3px 14px 3px 0 }}
figure {{ margin: 1em 0; color: #1b2733; background: white }} .play {{ padding: 4px 0 }}
.play {{ display: flex; align-items: center; gap: 16px }} .play input {{ flex: 1; height: 28px; accent-color: #0072b2 }}
.play button {{ font: inherit; font-weight: 600; width: 7em; min-height: 36px; border: 0; border-radius: 6px }}
.play button {{ color: white; background: #0072b2; cursor: pointer }}
.play output {{ min-width: 7em; font-weight: 600 }} :focus-visible {{ outline: 3px solid #0072b2; outline-offset: 2px }}
@media (prefers-color-scheme: dark) {{
  body {{ color: #dfe6ee; background: #14191f }} figure {{ margin: 32px 0; box-shadow: 0 0 0 14px white }}
  .fails {{ color: #ff8a80 }}
}}
</style></head><body>
{before}<figure>{controls}<div role="img" aria-label="{title}">{drawn}</div></figure>{after}
</body></html>
"""
