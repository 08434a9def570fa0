"""Build the book: `python notebooks/book/build.py [OUT] [--coarse]` writes HTML that is read from the disk, offline."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
import tomllib
from html import escape
from pathlib import Path

import api
import nbformat
import plotly
from myst_parser.slugs import github_slugify
from panels import LAB_CELLS, Frames, panel_in
from secret import secret
from sphinx.cmd.build import build_main
from tqdm import tqdm

from samviz.figures.player import player_data, player_html, player_js

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent
ROOT = NOTEBOOKS.parent
LIMIT = 25e6  # bytes of the whole book
LINK = re.compile(r"(?<!!)\[((?:`[^`]*`|[^\[\]`])*)\]\(((?:\.\./)*)([\w./-]+\.\w+)(#[^)\s]+)?\)")


def main(out: Path, coarse: bool) -> None:
    """Build into a folder, which is emptied first."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        pictures = gather(source, coarse)
        shutil.rmtree(out, ignore_errors=True)
        if build_main(["-q", "-W", "--keep-going", "-E", "-d", str(source / ".doctrees"), str(source), str(out)]):
            sys.exit("the book was not built: the warnings above are errors")
    redirect(out)
    prune(out)
    size, took = weighed(out), time.monotonic() - began
    print(f"{out / 'index.html'}: {size / 1e6:.1f} MB, {pictures:,} pictures behind sliders, {took:.0f} s")


def weighed(out: Path) -> int:
    """The size of all files in bytes, which ends the program when it is too much."""
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > LIMIT:
        sys.exit(
            f"the book has {size / 1e6:.1f} MB; expected {LIMIT / 1e6:.0f} or less: make fewer pictures in panels.py"
        )
    return size


def gather(source: Path, coarse: bool) -> int:
    """Put what Sphinx reads into a folder.

    Args:
        source: an empty folder.
        coarse: whether to make only a few pictures, for a look at the whole.

    Returns:
        How many pictures stand behind sliders.
    """
    static = source / "static"
    (static / "figures").mkdir(parents=True)
    (source / "pages").mkdir()
    (source / "api").mkdir()
    shutil.copy(HERE / "api.py", source)
    shutil.copy(HERE / "conf.py", source)
    shutil.copy(HERE / "book.css", static)
    for shared in ("help.css", "predict.css"):
        shutil.copy(ROOT / "samviz/figures" / shared, static)
    shutil.copy(Path(plotly.__file__).parent / "package_data/plotly.min.js", static)
    (static / "book.js").write_text(player_js(), encoding="utf-8")
    front = (HERE / "index.md").read_text(encoding="utf-8").replace("(REPOSITORY)", f"({repository()})")
    (source / "index.md").write_text(front, encoding="utf-8")
    (source / "secret.html").write_text(secret(), encoding="utf-8")
    shutil.copy(NOTEBOOKS / "secret.webp", source)
    for page in NOTEBOOKS.glob("pages/*.md"):
        (source / "pages" / page.name).write_text(linked(page.read_text(encoding="utf-8")), encoding="utf-8")
    sets: dict[str, Frames] = {}
    scripts = sorted(NOTEBOOKS.glob("[0-9]*.py"))
    notebooks = {path.stem: nbformat.read(path.with_suffix(".ipynb"), as_version=4) for path in scripts}
    api.write_pages(source / "api", notebooks)
    for stem, notebook in tqdm(notebooks.items(), "panels"):
        illustrate(notebook, stem, sets, coarse)
        notebook.cells.append(api.links_of(notebook))
        nbformat.write(notebook, source / f"{stem}.ipynb")
    count = 0
    for name, frames in tqdm(sets.items(), "pictures"):
        drawings = list(frames.drawings())
        script = player_data(name, frames.player_controls({}), drawings, "f4", frames.predict())
        (static / f"figures/{name}.js").write_text(script, encoding="utf-8")
        count += len(drawings)
    return count


def illustrate(notebook: nbformat.NotebookNode, stem: str, sets: dict[str, Frames], coarse: bool) -> None:
    """Give a notebook's links the book's anchors, its figures a text, and its panels their sliders; fill `sets`."""
    labs = dict(LAB_CELLS.get(stem, {}))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = linked(cell.source)
            continue
        line = next((line for line in cell.source.splitlines() if line in labs), None)
        for output in cell.outputs:
            if "image/png" not in output.get("data", {}):
                continue
            words = output.metadata["image/png"]["alt"]
            name, start = labs.pop(line) if line else (panel_in(cell.source), {})
            frames = sets.get(name) or Frames(name, coarse) if name else None
            if frames is None or not (frames.values or frames.predict()):
                cell.metadata["mystnb"] = {"image": {"alt": words}}
                continue
            sets[name], png = frames, "".join(output.data["image/png"].split())
            still = f'<img src="data:image/png;base64,{png}" alt="{escape(words)}">'
            about, height = frames.panel.view.description, frames.panel.figure["layout"]["height"]
            output.data = {"text/html": player_html(name, frames.player_controls(start), about, still, height)}
    if labs:
        raise ValueError(
            f"{stem} has no cell with a figure and the line {', '.join(map(repr, labs))}: correct LAB_CELLS"
        )


def linked(text: str) -> str:
    """Return Markdown whose links lead to the API reference, to the repository, and to the book's anchors.

    >>> linked("[`top_eigenpairs(k=3)`](../../samviz/geometry/hessian.py)")
    '{py:obj}`top_eigenpairs(k=3) <samviz.geometry.top_eigenpairs>`'
    >>> linked("[01](../01_alignment.ipynb#1.-Two-cycles)")
    '[01](../01_alignment.ipynb#1-two-cycles)'
    """

    def target(match: re.Match[str]) -> str:
        label, up, path, anchor = match[1], match[2], match[3], match[4] or ""
        name = re.match(r"\w*", label.strip("`"))[0]
        if path.endswith(".py") and name in api.public():
            return f"{{py:obj}}`{label.strip('`')} <{api.public()[name]}>`"
        if not path.endswith((".ipynb", ".md")) or path.startswith("."):
            return f"[{label}]({repository()}/blob/HEAD/{path}{anchor})"
        return f"[{label}]({up}{path}{anchor and '#' + github_slugify(anchor[1:].replace('-', ' '))})"

    return LINK.sub(target, text)


def repository() -> str:
    """Where the sources are, as pyproject.toml says."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return f"https://github.com/{settings['tool']['samviz']['repository']}"


def redirect(out: Path) -> None:
    """Write a page for each former name of a notebook that leads to its present page."""
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        if not path.with_suffix(".py").exists():
            (source,) = (cell.source for cell in nbformat.read(path, as_version=4).cells)
            target = re.search(r"\((\w+)\.ipynb\)", source)[1]
            html = f'<!doctype html><meta http-equiv="refresh" content="0; url={target}.html"><title>{target}</title>'
            (out / f"{path.stem}.html").write_text(html, encoding="utf-8")


def prune(out: Path) -> None:
    """Keep of MathJax the one file that the pages load, and of Sphinx nothing that only serves another build."""
    mathjax = out / "_static/mathjax"
    for path in mathjax.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "tex-svg.js":
            path.unlink()
    for name in (".buildinfo", "objects.inv"):
        (out / name).unlink(missing_ok=True)


if __name__ == "__main__":
    os.environ["SAMVIZ_STATIC"] = "1"  # nobody waits: panels come to their end at once
    parser = argparse.ArgumentParser(description="Build the offline book.")
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "build/book", help="folder, emptied first")
    parser.add_argument("--coarse", action="store_true", help="few pictures: for a look at the whole")
    given = parser.parse_args()
    main(given.out, given.coarse)
