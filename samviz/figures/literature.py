"""A map of the literature: papers by question and year, with links to arXiv."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samviz.figures.drawing import add_axes, marks, new_layout, note
from samviz.figures.style import BLUE, GREY, INK

PAPERS = Path(__file__).parents[1] / "course/literature.json"
PAPER, QUESTION = 32, 30  # pixels of a paper, with two lines of text, and of the heading above the papers of a question
YEARS = 2016.6, 2026.4  # at the left and the right end
TURN = 2021.5  # texts stand to the left of papers from later years


def literature_figure() -> dict[str, Any]:
    """Draw papers that notebook 09 cites as plain plotly JSON: a row for each, by question, at its year.

    The authors link to arXiv. The name under them is that of the panel or claim of samviz that shows the subject.

    Returns:
        {"data": traces, "layout": layout}.

    >>> sorted(literature_figure())
    ['data', 'layout']
    """
    questions = json.loads(PAPERS.read_text(encoding="utf-8"))
    papers = [paper for each in questions.values() for paper in each]
    total = PAPER * len(papers) + QUESTION * len(questions)
    layout = new_layout(total + 50, left=10, right=10, top=40, bottom=10)
    ticks = {"range": YEARS, "side": "top", "tickvals": sorted({paper["year"] for paper in papers})}
    axes = add_axes(layout, 1, (0, 1), (0, 1), ("", ""), x=ticks, y={"range": [total, 0], "visible": False})
    layout["meta"] = {}  # it is the same in a narrow page
    heights, at = [], 0.0
    for question, each in questions.items():
        at += QUESTION
        layout["annotations"].append(note(f"<b>{question}</b>", 0, at - 8, "x domain", "y", INK))
        for paper in each:
            link = f'<a href="https://arxiv.org/abs/{paper["id"]}">{paper["authors"]}</a>'
            name = f'<span style="color: {GREY}">{paper["shown_by"]}</span>'
            side, shift = ("right", -8) if paper["year"] > TURN else ("left", 8)
            place = {"xanchor": side, "align": side, "xshift": shift}
            text = f'<span style="font-size: 11px">{link}<br>{name}</span>'
            layout["annotations"].append(note(text, paper["year"], at + PAPER / 2, "x", "y", BLUE, **place))
            heights.append(at + PAPER / 2)
            at += PAPER
    points = marks([paper["year"] for paper in papers], heights, "paper", BLUE, hoverinfo="skip")
    return {"data": [points | axes], "layout": layout}
