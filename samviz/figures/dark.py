"""The palette on a dark ground: every colour of the figures beside its counterpart, for Python and for the browser."""

from __future__ import annotations

import json

from samviz.figures.style import (
    BLUE,
    BLUES,
    GHOST,
    GREEN,
    GREY,
    GRID,
    INK,
    ORANGE,
    PALE,
    PLUM,
    PURPLE,
    SKY,
    VERMILION,
    WORDS,
)

GROUND = "#14191f"
DEEP = ("#2a669f", "#265b8e", "#214b74", "#1c3a58", "#18293b", "#151d26")  # as BLUES: fades into the ground
FAINT = ("#274560", "#20374c", "#1b2b3b", "#161d25")  # as PALE: light lines are seen on it

# Each colour of the figures to its counterpart on GROUND; words take that of their line.
DARK: dict[str, str] = {
    "white": GROUND,
    "#ffffff": GROUND,
    INK: "#dfe6ee",
    "#000000": "#dfe6ee",  # words on pale cells
    GREY: "#8f9ba8",
    GRID: "#29323c",
    GHOST: "#64717e",
    BLUE: "#3f97e8",
    SKY: "#8ed6ff",
    GREEN: "#17b890",
    VERMILION: "#f4722b",
    ORANGE: "#f5cf62",
    PURPLE: "#f2a6d0",
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
DARK |= {word: DARK[line] for line, word in WORDS.items()}

LETTERS = "#f7f9fb"  # white words stand on dark cells, here as there, and stay white

RECOLOUR = """
function recolour(node) {
  const dark = {table};
  const colour = /#[0-9a-f]{6}\\b|rgba?\\([^)]*\\)|(?<=^|px |:\\s*)white(?=$|[,;"'])/gi;
  function swap(found, words) {
    const key = found.toLowerCase().replaceAll(" ", "");
    const rgb = key.match(/^rgba?\\((\\d+),(\\d+),(\\d+)(?:,([\\d.]+))?\\)$/);
    if (!rgb) return words && key === "white" ? "{letters}" : dark[key] ?? found;
    const other = dark["#" + rgb.slice(1, 4).map((v) => (+v).toString(16).padStart(2, "0")).join("")];
    return other ? `rgba(${[1, 3, 5].map((at) => parseInt(other.slice(at, at + 2), 16))},${rgb[4] ?? 1})` : found;
  }
  function walk(node, words) {
    if (typeof node === "string") return node.replace(colour, (found) => swap(found, words));
    if (!node || typeof node !== "object" || ArrayBuffer.isView(node) || node instanceof ArrayBuffer) return node;
    if (Array.isArray(node)) {
      const made = node.map((value) => walk(value, words));
      return made.every((value, i) => Object.is(value, node[i])) ? node : made;
    }
    const inside = (key) => key !== "shadow" && (words || key.endsWith("font"));
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, walk(value, inside(key))]));
  }
  return walk(node, false);
}
"""


def recolour_js() -> str:
    """JavaScript that defines `recolour(node)`: a copy of a plotly JSON tree in the colours of the dark ground.

    It maps whole strings and colours inside longer ones (shadows, spans), keeps the opacity of `rgba(…)`, and hands on
    numbers, typed arrays and lists without colours as they are.

    Returns:
        Text without imports or exports, to stand in a script or a module.

    >>> "function recolour(" in recolour_js()
    True
    """
    table = json.dumps({light.lower(): dark for light, dark in DARK.items()})
    return RECOLOUR.replace("{table}", table).replace("{letters}", LETTERS)
