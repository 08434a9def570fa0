"""The palette of all figures, light and dark, for Python and for the browser.

The hues are Okabe and Ito's, darkened until lines have a contrast of 3 on white and text one of 4.5 (WCAG 2.2).
"""

from __future__ import annotations

import json
from pathlib import Path

INK, GREY, GRID, GHOST = "#1b2733", "#5b6876", "#e8edf2", "#8994a0"
BLUE, SKY, GREEN = "#0072B2", "#3a9bd9", "#00815e"
VERMILION, ORANGE, PURPLE = "#c24e00", "#cc8600", "#CC79A7"
OLIVE, VIOLET = "#51491f", "#7a00cc"
PLUM = "#a8457f"  # PURPLE for text
TEXT_COLORS = {PURPLE: PLUM, ORANGE: "#8f5f00", SKY: "#1b75b0"}  # of lines that are too pale for text on white
QUANTITIES = {  # one colour for each quantity in all figures; those of the first eigenpair share one
    **{"loss": INK, "λ₁": VERMILION, "v₁": VERMILION, "λ₂": ORANGE, "λ₃": GREY, "trace": GREEN, "eigenspace": BLUE},
    **{"2/η": PURPLE, "SAM's edge": VIOLET, "curvature along ∇L": OLIVE},
}
HALO = "0 0 3px white, 0 0 3px white, 0 0 3px white, 0 0 3px white"  # behind text that stands on lines
BLUES = list(zip((0, 0.2, 0.4, 0.6, 0.8, 1), ("#08306b", "#1c64ab", "#4f9bcb", "#9ac8e1", "#cfe1f2", "#f4f9fd")))
PALE = list(zip((0, 0.25, 0.5, 1), ("#a9c8e3", "#c9dded", "#dfebf5", "#fbfdff")))  # dark lines are visible on it
FONT = "system-ui, Segoe UI, Roboto, Helvetica Neue, DejaVu Sans, sans-serif"  # as in widget.css

DARK_PAPER = "#14191f"
DEEP = ("#2a669f", "#265b8e", "#214b74", "#1c3a58", "#18293b", "#151d26")  # as BLUES: fades into the background
FAINT = ("#274560", "#20374c", "#1b2b3b", "#161d25")  # as PALE: light lines are visible on it

# The counterpart of each colour on a dark background; a text has that of its line.
DARK: dict[str, str] = {
    "white": DARK_PAPER,
    "#ffffff": DARK_PAPER,
    INK: "#dfe6ee",
    "#000000": "#dfe6ee",  # text on pale cells
    GREY: "#8f9ba8",
    GRID: "#29323c",
    GHOST: "#64717e",
    BLUE: "#3f97e8",
    SKY: "#8ed6ff",
    GREEN: "#17b890",
    VERMILION: "#f4722b",
    ORANGE: "#f5cf62",
    PURPLE: "#f2a6d0",
    OLIVE: "#abf500",
    VIOLET: "#a35cff",
    PLUM: "#f2a6d0",
    **{light: dark for (_, light), dark in zip(BLUES, DEEP)},
    **{light: dark for (_, light), dark in zip(PALE, FAINT)},
    "#9aa5b1": "#5d6874",  # an axis
    "#dfe5ec": "#29323c",  # a grid in space
    "#dbe6ef": "#2b3947",  # level sets
    "#8fb0cc": "#3e5f7d",  # contours on PALE
    "#f3b48a": "#5f3417",  # regions of two classes
    "#8fc1de": "#1f4c70",
}
DARK |= {text: DARK[line] for line, text in TEXT_COLORS.items()}
WHITE_TEXT = "#f7f9fb"  # white text stands on dark cells in both themes, and stays white

RECOLOUR = (Path(__file__).parent / "recolour.js").read_text(encoding="utf-8")


def recolour_js() -> str:
    """Return JavaScript that defines `recolour(node)`: a copy of a plotly JSON tree in the colours of the dark theme.

    It maps colours, also inside longer strings, keeps the opacity of `rgba(…)`, and leaves typed arrays as they are.
    """
    table = json.dumps({light.lower(): dark for light, dark in DARK.items()})
    return RECOLOUR.replace("{table}", table).replace("{white}", WHITE_TEXT)
