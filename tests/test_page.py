"""A figure as a page: what its reader's browser is told, beyond the figure itself."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import samviz
from samviz.figures import replay
from samviz.figures.dark import DARK
from samviz.figures.page import page

LINE = {"data": [{"type": "scatter", "y": [0, 1]}], "layout": {}}
PACKAGE = Path(samviz.__file__).parent
SOURCES = [path for pattern in ("*.py", "*.js", "*.css", "*.ipynb") for path in PACKAGE.rglob(pattern)]


def own(text):
    """The page's own scripts and words, without plotly.js."""
    return "\n".join(part for part in re.split(r"(?=<script)|(?<=</script>)", text) if len(part) < 1_000_000)


@pytest.fixture
def moving():
    return replay.replay([LINE, {"data": [{"type": "scatter", "y": [0, 2]}], "layout": {}}], ["flat", "steep"])


def test_plotly_is_told_to_upload_nothing(moving):
    for figure in (LINE, moving):
        script = own(page("a", figure))
        config, _ = json.JSONDecoder().raw_decode(script, script.index('{"displaylogo"'))
        assert config["showSendToCloud"] is False
        assert config["displaylogo"] is False


def test_a_title_is_shown_as_it_is():
    title, tags, texts = 'L < 1 & "ρ" <script>alert(1)</script>', [], []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.handle_data = texts.append
    parser.feed(own(page(title, LINE)))
    assert title in texts
    assert [attributes["aria-label"] for tag, attributes in tags if tag == "figure"] == [title]


def test_a_page_that_plays_has_a_slider_and_words_and_a_still_one_has_neither(moving):
    assert 'aria-describedby="told"' in own(page("a", moving))
    assert '<output id="told"' in own(page("a", moving))
    assert not re.search("aria-describedby|<output|<button", own(page("a", LINE)))


def test_a_page_follows_its_readers_system(moving):
    for figure in (LINE, moving):
        script = own(page("a", figure))
        assert script.count("function recolour(") == 1
        assert script.index("function recolour(") < script.index("recolour(fresh)")
        assert all(dark in script for dark in DARK.values())


def test_our_own_files_name_no_host_to_send_to():
    """What they name is where data and licences come from, in words for people."""
    named = {
        (path.name, host)
        for path in SOURCES
        for host in re.findall(r"(?:https?|wss?):\\?/\\?/([\w.-]+)", path.read_text(encoding="utf-8"))
        if not re.fullmatch(r"127\.0\.0\.1|localhost", host)
    }
    assert named <= {("data.py", "doi.org"), ("data.py", "creativecommons.org")}


def test_our_own_files_ask_for_nothing_from_a_network():
    """Scripts load by `import` of a blob only; no script asks or sends, no style sheet loads another."""
    asking = re.compile(r"\bfetch\(|XMLHttpRequest|sendBeacon|new WebSocket|EventSource|@import|url\(\s*['\"]?http")
    found = [path.name for path in SOURCES if path.suffix in (".js", ".css") and asking.search(path.read_text("utf-8"))]
    assert found == []
