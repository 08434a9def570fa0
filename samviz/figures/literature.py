"""A map of the literature: papers by question and year, with links to arXiv."""

from __future__ import annotations

import json
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

from samviz.figures.drawing import new_layout, note
from samviz.figures.style import BLUE, GREY, GRID, INK

PAPERS = Path(__file__).parents[1] / "course/literature.json"
LINE = 34  # pixels of a paper
TOP, LEFT = 34, 46  # pixels of the headings and of the years


def literature_figure() -> dict[str, Any]:
    """Draw the papers that the notebooks cite as plain plotly JSON: a column for each question, a row for each year.

    The authors link to arXiv. The name under them is that of the panel or claim of samviz that shows the subject.

    Returns:
        {"data": traces, "layout": layout}.

    >>> sorted(literature_figure())
    ['data', 'layout']
    """
    columns = json.loads(PAPERS.read_text(encoding="utf-8"))
    counts = [Counter(paper["year"] for paper in papers) for papers in columns.values()]
    years = sorted(set().union(*counts))
    heights = [max(count[year] for count in counts) for year in years]
    starts = dict(zip(years, accumulate(heights, initial=0)))
    total = sum(heights)
    layout = new_layout(total * LINE + TOP + 10, left=LEFT, right=10, top=TOP, bottom=10)

    def write(text: str, column: float, line: float, color: str, **more: Any) -> None:
        place = {"xref": "paper", "yref": "paper", "yanchor": "top", "align": "left"}
        layout["annotations"].append(note(text, column / len(columns), 1 - line / total, color=color, **place | more))

    for year, line in starts.items():
        write(f"<b>{year}</b>", 0, line, GREY, xanchor="right", xshift=-4)
    for column, (question, papers) in enumerate(columns.items()):
        write(f"<b>{question}</b>", column, 0, INK, yanchor="bottom", yshift=6)
        rows = dict(starts)
        for paper in papers:
            link = f'<a href="https://arxiv.org/abs/{paper["id"]}">{paper["authors"]}</a>'
            name = f'<span style="color: {GREY}">{paper["shown_by"]}</span>'
            write(f'<span style="font-size: 11px">{link}<br>{name}</span>', column, rows[paper["year"]], BLUE)
            rows[paper["year"]] += 1
    border = {"type": "line", "xref": "paper", "yref": "paper", "x0": -0.05, "x1": 1, "line": {"color": GRID}}
    layout["shapes"] = [border | {"y0": 1 - line / total, "y1": 1 - line / total} for line in starts.values()]
    layout["xaxis"] = layout["yaxis"] = {"visible": False}
    return {"data": [], "layout": layout}
