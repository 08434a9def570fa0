"""Make the committed notebooks from their percent scripts: run them, and keep printed numbers and static pictures.

A live lab leaves a view of a widget that only its kernel can fill; it is dropped, and the PNG beside it stays.
"""

from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent


def render(script: Path) -> None:
    """Write NAME.ipynb beside NAME.py."""
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # the same at every rendering
    NotebookClient(notebook, timeout=300, coalesce_streams=True, resources={"metadata": {"path": str(HERE)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [
                output
                for output in cell.outputs
                if output.output_type == "stream" or "application/vnd.jupyter.widget-view+json" not in output.data
            ]
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("language_info", None)
    target = script.with_suffix(".ipynb")
    nbformat.write(notebook, target)
    print(f"{target.name}: {target.stat().st_size / 1e3:.0f} kB")


def smaller(png: str) -> str:
    """A PNG in base64 with a palette of 128 colours: a quarter of the size."""
    small = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(128, method=Image.Quantize.FASTOCTREE).save(
        small, "PNG", optimize=True
    )
    return base64.b64encode(small.getvalue()).decode()


if __name__ == "__main__":
    os.environ |= {"SAMVIZ_STATIC": "1", "SAMVIZ_LITE": "0"}
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(HERE.glob("[0-9]*.py")):
        render(path)
