"""The built book: links and headings are correct, panels have figures, and nothing is loaded from the network."""

import json
import math
import pkgutil
import re
from html.parser import HTMLParser
from importlib import import_module
from urllib.parse import unquote, urlsplit

import pytest
from fresh import ROOT

import samviz

BUILD = ROOT / "notebooks/book/build.py"
LIMIT = 25e6
# Building the book takes one and a half minutes of computing, more on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Page(HTMLParser):
    """The elements, heading levels and prose of a page."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.headings, self.prose = [], [], []
        self.depth = 0  # of elements with code, scripts or mathematics
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.depth += tag in ("code", "pre", "script", "style") or "math" in attributes.get("class", "")

    def handle_endtag(self, tag):
        self.depth -= tag in ("code", "pre", "script", "style")

    def handle_data(self, data):
        if not self.depth:
            self.prose.append(data)

    def all(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attributes.get(attribute)]


@pytest.fixture(scope="module")
def pages(book):
    former = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if not path.with_suffix(".py").exists()}
    assert former <= {path.stem for path in book.glob("*.html")}
    return {path: Page(path) for path in sorted(book.rglob("*.html")) if path.stem not in former}


@pytest.fixture
def build(monkeypatch):
    """The module that builds the book."""
    monkeypatch.syspath_prepend(BUILD.parent)
    return import_module("build")


def test_every_notebook_and_page_is_there(book, pages):
    wanted = {"index.html", "search.html"}
    wanted |= {f"{path.stem}.html" for path in (ROOT / "notebooks").glob("[0-9]*.py")}
    wanted |= {f"pages/{path.stem}.html" for path in (ROOT / "notebooks/pages").glob("*.md")}
    wanted |= {f"api/{part}.html" for part in ("index", *subpackages())}
    assert {path.relative_to(book).as_posix() for path in pages} == wanted
    front = pages[book / "index.html"].all("href")
    assert wanted - {"index.html"} <= {*front, "search.html"}


def subpackages():
    """The subpackages that have public names."""
    names = [found.name for found in pkgutil.iter_modules(samviz.__path__) if found.name != "__main__"]
    return [name for name in names if hasattr(import_module(f"samviz.{name}"), "__all__")]


@pytest.mark.parametrize("part", subpackages())
def test_every_public_name_has_an_entry_in_the_api_reference(book, pages, part):
    module = import_module(f"samviz.{part}")
    assert {f"samviz.{part}.{name}" for name in module.__all__} <= {*pages[book / f"api/{part}.html"].all("id")}


def test_notebooks_and_api_entries_link_to_each_other(book, pages):
    assert "api/dynamics.html#samviz.dynamics.Run" in pages[book / "01_alignment.html"].all("href")
    assert "../01_alignment.html" in pages[book / "api/dynamics.html"].all("href")
    assert "../api/geometry.html#samviz.geometry.hessian_trace" in pages[book / "pages/symbols.html"].all("href")


def test_links_lead_to_existing_files_and_headings(pages):
    ids = {path: set(page.all("id")) for path, page in pages.items()}
    for path, page in pages.items():
        for link in (*page.all("href"), *page.all("src")):
            parts = urlsplit(link)
            if "/blob/HEAD/" in link:  # in the repository
                assert (ROOT / link.split("/blob/HEAD/")[1]).is_file(), link
            if parts.scheme:
                assert parts.scheme in ("https", "data"), f"{path.name}: {link}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.name}: {link}"
            if parts.fragment and target in ids:
                assert unquote(parts.fragment) in ids[target], f"{path.name}: {link}"


def test_headings_leave_no_level_out_pictures_have_a_text_and_mathematics_is_set(book, pages):
    for path, page in pages.items():
        if path != book / "search.html":  # a page of the theme, with a second first heading for the results
            assert page.headings.count(1) == 1, path.name
            assert page.headings[0] == 1, path.name
            assert all(below <= above + 1 for above, below in zip(page.headings, page.headings[1:])), path.name
        assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img"), path.name
        assert not re.search(r"\$[^$\n]+\$", " ".join(page.prose)), path.name


def test_nothing_is_loaded_from_elsewhere(book, pages):
    for path, page in pages.items():
        assert not [src for src in page.all("src") if re.match(r"(https?:)?//", src)], path.name
        for tag, attributes in page.elements:
            assert tag not in ("iframe", "object", "embed"), path.name
            assert tag != "link" or not re.match(r"(https?:)?//", attributes.get("href", "")), path.name
    for path in book.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""(@import|url\()\s*["']?(https?:)?//""", text), path.name
        assert "@import" not in text or path.name != "book.css"
    for path in (book / "_static/book.js", *(book / "_static/figures").iterdir()):
        assert not re.search(r"https?:|fetch\(|import\(", path.read_text(encoding="utf-8")), path.name


def test_every_panel_has_a_figure_for_each_combination_of_its_controls(book, pages, build):
    expected = {(stem, lab) for stem, cells in build.LAB_CELLS.items() for lab, _ in cells.values()}
    for path in (ROOT / "notebooks").glob("[0-9]*.py"):
        panels = re.findall(r"^\w+ = (\w+_panel)\(\)$", path.read_text("utf-8"), re.M)
        expected |= {(path.stem, name) for name in panels}
    shown, starts = {}, {}
    for path, page in pages.items():
        for tag, attributes in page.elements:
            if name := attributes.get("data-player"):
                controls = shown.setdefault((path.stem, name), [])
            if "data-stops" in attributes:
                controls.append(json.loads(attributes["data-stops"]))
            if "data-stops" in attributes and tag == "input":
                starts.setdefault(path.stem, []).append(controls[-1][int(attributes["value"])])
    assert expected - shown.keys() == set(), "these panels have no sliders in the book"
    assert len(expected) > 10
    for (page, name), controls in shown.items():
        script = (book / f"_static/figures/{name}.js").read_text(encoding="utf-8")
        data = json.loads(script[script.index("] = ") + 4 : script.rindex(";")])
        expected_count = math.prod(map(len, controls)) + ("predict" in data)  # a question's initial state is the last
        assert len(data["figures"]) == len(data["sentences"]) == expected_count, (page, name)
        assert len(set(data["sentences"])) > 1, name
        assert len({json.dumps(figure) for figure in data["figures"]}) > 1, name
    assert starts["05_one_sample_at_a_time"][-3:] == ["0.1", "1", "600"]  # Lab(sine, lr=0.05, rho=0.1, batch_size=1)
    assert starts["06_where_the_theory_ends"][-3] == "0.05"  # Lab(digits, rho=0.05)


def test_the_size_is_bounded(book, build, monkeypatch):
    size = sum(path.stat().st_size for path in book.rglob("*") if path.is_file())
    assert size <= LIMIT == build.LIMIT
    assert build.weighed(book) == size
    monkeypatch.setattr(build, "LIMIT", size - 1)
    with pytest.raises(SystemExit, match="make fewer pictures"):
        build.weighed(book)
