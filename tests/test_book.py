"""The book as it is built: links and headings hold, panels have their pictures, and the network is not asked."""

import json
import math
import pkgutil
import re
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import samviz

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "notebooks/book/build.py"
LIMIT = 25e6
# Building the book takes one and a half minutes of computing, more on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Page(HTMLParser):
    """What the checks need of a page."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.headings, self.words = [], [], []
        self.apart = 0  # how many elements deep in code, scripts or mathematics
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.apart += tag in ("code", "pre", "script", "style") or "math" in attributes.get("class", "")

    def handle_endtag(self, tag):
        self.apart -= tag in ("code", "pre", "script", "style")

    def handle_data(self, data):
        if not self.apart:
            self.words.append(data)

    def all(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attributes.get(attribute)]


@pytest.fixture(scope="module")
def pages(book):
    return {path: Page(path) for path in sorted(book.rglob("*.html"))}


def test_every_notebook_and_page_is_there(book, pages):
    wanted = {"index.html", "search.html"}
    wanted |= {f"{path.stem}.html" for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    wanted |= {f"pages/{path.stem}.html" for path in (ROOT / "notebooks/pages").glob("*.md")}
    wanted |= {f"api/{part}.html" for part in ("index", *subpackages())}
    assert {path.relative_to(book).as_posix() for path in pages} == wanted
    front = pages[book / "index.html"].all("href")
    assert wanted - {"index.html"} <= {*front, "search.html"}


def subpackages():
    """The subpackages that have public names."""
    names = [found.name for found in pkgutil.iter_modules(samviz.__path__) if found.ispkg]
    return [name for name in names if hasattr(import_module(f"samviz.{name}"), "__all__")]


@pytest.mark.parametrize("part", subpackages())
def test_every_public_name_has_an_entry_in_the_api_reference(book, pages, part):
    module = import_module(f"samviz.{part}")
    assert {f"samviz.{part}.{name}" for name in module.__all__} <= {*pages[book / f"api/{part}.html"].all("id")}


def test_notebooks_and_api_entries_link_to_each_other(book, pages):
    assert "api/dynamics.html#samviz.dynamics.Run" in pages[book / "02_alignment.html"].all("href")
    assert "../02_alignment.html" in pages[book / "api/dynamics.html"].all("href")
    assert "../api/geometry.html#samviz.geometry.hessian_trace" in pages[book / "pages/symbols.html"].all("href")


def test_links_lead_somewhere(pages):
    ids = {path: set(page.all("id")) for path, page in pages.items()}
    for path, page in pages.items():
        for link in (*page.all("href"), *page.all("src")):
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("https", "data"), f"{path.name}: {link}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.name}: {link}"
            if parts.fragment and target in ids:
                assert unquote(parts.fragment) in ids[target], f"{path.name}: {link}"


def test_links_into_the_sources_name_files_that_are_there(pages):
    found = {link for page in pages.values() for link in page.all("href") if "/blob/HEAD/" in link}
    for link in found:
        assert (ROOT / link.split("/blob/HEAD/")[1]).is_file(), link


def test_a_page_has_one_first_heading_and_leaves_no_level_out(book, pages):
    for path, page in pages.items():
        if path != book / "search.html":  # the theme's own, with a second one for the results
            assert page.headings.count(1) == 1, path.name
            assert page.headings[0] == 1, path.name
            assert all(below <= above + 1 for above, below in zip(page.headings, page.headings[1:])), path.name


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


def test_pictures_have_words_and_mathematics_is_set(pages):
    for path, page in pages.items():
        assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img"), path.name
        assert not re.search(r"\$[^$\n]+\$", " ".join(page.words)), path.name


def test_every_panel_has_a_picture_for_each_combination(book, pages, monkeypatch):
    monkeypatch.syspath_prepend(BUILD.parent)
    wanted = {(stem, lab) for stem, cells in __import__("panels").LAB_CELLS.items() for lab, _ in cells.values()}
    for path in (ROOT / "notebooks").glob("[0-9]*.py"):
        wanted |= {(path.stem, name) for name in re.findall(r"^\w+ = (\w+_panel)\(\)$", path.read_text("utf-8"), re.M)}
    shown = {}
    for path, page in pages.items():
        controls = []
        for _, attributes in page.elements:
            if name := attributes.get("data-player"):
                controls = shown.setdefault((path.stem, name), [])
            if stops := attributes.get("data-stops"):
                controls.append(json.loads(stops))
    assert wanted - shown.keys() == set(), "these panels have no sliders in the book"
    assert len(wanted) > 10
    for (page, name), controls in shown.items():
        script = (book / f"_static/figures/{name}.js").read_text(encoding="utf-8")
        data = json.loads(script[script.index("] = ") + 4 : script.rindex(";")])
        assert len(data["figures"]) == len(data["sentences"]) == math.prod(map(len, controls)), (page, name)
        assert len(set(data["sentences"])) > 1, name
        assert len({json.dumps(picture) for picture in data["figures"]}) > 1, name


def test_the_figures_start_where_the_notebooks_do(pages):
    stops = {}
    for path, page in pages.items():
        for tag, attributes in page.elements:
            if tag == "input" and "data-stops" in attributes:
                stops.setdefault(path.stem, []).append(json.loads(attributes["data-stops"])[int(attributes["value"])])
    assert stops["05_one_sample_at_a_time"][:3] == ["0.1", "1", "600"]  # Lab(sine, lr=0.05, rho=0.1, batch_size=1)
    assert stops["06_networks"][3] == "0.05"  # Lab(digits, rho=0.05)


def test_the_size_is_bounded(book, monkeypatch):
    size = sum(path.stat().st_size for path in book.rglob("*") if path.is_file())
    assert size <= LIMIT
    monkeypatch.syspath_prepend(BUILD.parent)
    module = __import__("build")
    assert module.LIMIT == LIMIT
    assert module.weighed(book) == size
    monkeypatch.setattr(module, "LIMIT", size - 1)
    with pytest.raises(SystemExit, match="make fewer pictures"):
        module.weighed(book)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("[`SAM(m=4)`](../../samviz/optim/sam.py)", "{py:obj}`SAM(m=4) <samviz.optim.SAM>`"),
        ("[a](../../samviz/optim/sam.py)", "[a](https://github.com/samviz/samviz/blob/HEAD/samviz/optim/sam.py)"),
        ("[a](../05.ipynb#4.-In-between:-Example-5.8)", "[a](../05.ipynb#4-in-between-example-58)"),
        ("[a](glossary.md#m-sharpness) [b](#trace)", "[a](glossary.md#m-sharpness) [b](#trace)"),
        ("[a](https://example.org/a.py) `x[0](y)`", "[a](https://example.org/a.py) `x[0](y)`"),
    ],
)
def test_links_are_turned_to_the_book(given, wanted, monkeypatch):
    monkeypatch.syspath_prepend(BUILD.parent)
    assert __import__("build").linked(given) == wanted
