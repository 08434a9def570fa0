"""The map of the literature: each paper has an arXiv number that the notebook links, and an existing panel or claim."""

import json
import re
from itertools import pairwise

import pytest
from fresh import ROOT

from samviz.claims import BEYOND, CLAIMS
from samviz.figures import figure, literature_figure
from samviz.panels import __all__ as PANELS

QUESTIONS = json.loads((ROOT / "samviz/course/literature.json").read_text(encoding="utf-8"))
PAPERS = [paper for papers in QUESTIONS.values() for paper in papers]
WIDTH, LETTER = 340, 6.0  # pixels of the plot on a phone, and of a letter of 11 pixels in most fonts


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper["id"])
def test_a_paper_has_an_arxiv_number_of_its_time_and_is_shown_by_an_existing_panel_or_claim(paper):
    assert paper.keys() == {"id", "authors", "year", "shown_by"}
    year, month = map(int, re.fullmatch(r"(\d\d)(\d\d)\.\d{5}", paper["id"]).groups())
    assert 1 <= month <= 12
    assert abs(paper["year"] - 2000 - year) <= 1
    assert paper["shown_by"] in {*CLAIMS, *BEYOND, *PANELS}


def test_the_notebook_links_every_paper_of_the_map():
    notebook = (ROOT / "notebooks/09_beyond_the_paper.py").read_text(encoding="utf-8")
    assert len({paper["id"] for paper in PAPERS}) >= 20
    assert [paper["id"] for paper in PAPERS if f"](https://arxiv.org/abs/{paper['id']})" not in notebook] == []


def test_the_notebook_has_or_links_every_panel_of_the_map():
    notebook = (ROOT / "notebooks/09_beyond_the_paper.py").read_text(encoding="utf-8")
    linked = dict(re.findall(r"`(\w+_panel)` in \[\d\d\]\((\w+)\.ipynb\)", notebook))
    for name in {paper["shown_by"] for paper in PAPERS} & {*PANELS}:
        stem = linked.get(name, "09_beyond_the_paper")
        assert f"import {name}" in (ROOT / f"notebooks/{stem}.py").read_text(encoding="utf-8"), name


def test_each_paper_has_a_row_of_its_own_and_its_text_fits_a_narrow_page():
    plain = literature_figure()
    figure(plain)  # plotly accepts it
    layout, rows = plain["layout"], []
    first, last = layout["xaxis"]["range"]
    notes = [note for note in layout["annotations"] if "arxiv" in note["text"]]
    for paper, note in zip(PAPERS, notes, strict=True):
        assert (paper["id"] in note["text"], note["x"]) == (True, paper["year"])
        assert paper["shown_by"] in note["text"]
        length = max(len(re.sub("<.*?>", "", line)) for line in note["text"].split("<br>")) * LETTER + 8
        at = (note["x"] - first) / (last - first) * WIDTH
        assert (at - length > 0) if note["xanchor"] == "right" else (at + length < WIDTH), paper
        rows.append(note["y"])
    height = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    assert height == layout["yaxis"]["range"][0]
    assert all(below - above > 30 for above, below in pairwise(rows))  # two lines of 15 pixels
