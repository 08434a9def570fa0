"""The map of the literature: each paper has an arXiv number that the notebook links, and an existing panel or claim."""

import json
import re
from itertools import pairwise

import pytest
from fresh import ROOT

from samviz.claims import BEYOND, CLAIMS
from samviz.figures import figure, literature_figure
from samviz.panels import __all__ as PANELS

COLUMNS = json.loads((ROOT / "samviz/course/literature.json").read_text(encoding="utf-8"))
PAPERS = [paper for papers in COLUMNS.values() for paper in papers]
WIDTH, LETTER = 840, 6.0  # pixels of a narrow page, and of a letter of 11 pixels in most fonts


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


def test_each_paper_has_a_place_of_its_own_that_its_text_does_not_leave():
    plain = literature_figure()
    figure(plain)  # plotly accepts it
    layout, places = plain["layout"], []
    for paper in PAPERS:
        for note in layout["annotations"]:
            if paper["id"] in note["text"] and paper["shown_by"] in note["text"]:
                places.append((note["x"], round(note["y"], 3)))
                lines = (re.sub("<.*?>", "", line) for line in note["text"].split("<br>"))
                assert max(map(len, lines)) * LETTER < WIDTH / len(COLUMNS)
    assert len(places) == len({*places}) == len(PAPERS)
    height = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    for column in {x for x, _ in places}:
        rows = sorted(y for x, y in places if x == column)
        assert all((above - below) * height > 30 for below, above in pairwise(rows))  # two lines of 15 pixels
