"""Each notebook is small, states its goal, is identical to its script, and has clean outputs."""

import base64
import io
import json
import re
from pathlib import Path

import jupytext
import pytest
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
ALL = [path.with_suffix(".ipynb") for path in sorted(NOTEBOOKS.glob("[0-9]*.py"))]
of_each = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)


def sources(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_each_script_has_a_notebook_and_every_other_notebook_links_to_the_place_of_its_content():
    assert all(path.exists() for path in ALL)
    for path in {*NOTEBOOKS.glob("*.ipynb")} - {*ALL}:
        ((kind, source),) = sources(jupytext.read(path))
        assert kind == "markdown"
        assert NOTEBOOKS / re.search(r"\]\((\w+\.ipynb)\)", source)[1] in ALL


@of_each
def test_a_notebook_is_identical_to_its_script_shows_little_code_and_begins_with_its_goal_and_its_time(path):
    cells = sources(jupytext.read(path))
    assert cells == sources(jupytext.read(path.with_suffix(".py"), fmt="py:percent"))
    assert [source for kind, source in cells if kind == "code" and len(source.splitlines()) > 8] == []
    head = "\n".join(source for kind, source in sources(jupytext.read(path))[:3] if kind == "markdown").lower()
    assert re.search(r"\bminutes?\b", head)
    assert "goal" in head


@of_each
def test_a_notebook_is_small_and_its_outputs_are_clean_and_compared(path):
    """The numbers of 08 are not compared: a trained CNN's digits differ from one processor to the next."""
    assert path.stat().st_size <= 300_000
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert "widgets" not in notebook["metadata"]
    for cell in notebook["cells"]:
        source, outputs = "".join(cell["source"]), cell.get("outputs", [])
        for picture in (output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})):
            assert not Image.open(io.BytesIO(base64.b64decode(picture))).info.keys() - {"transparency"}
        printed = "".join("".join(output.get("text", "")) for output in outputs if output["output_type"] == "stream")
        if re.search(r"\d\.\d", printed) and "check(" not in source and path.stem != "08_your_own_model":
            assert "NBVAL_CHECK_OUTPUT" in source, source
