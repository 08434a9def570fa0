"""Write the API reference of the book: one page per subpackage, which Sphinx fills from the docstrings."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

import samviz

INDEX = """\
# API reference

The public names of each subpackage, from their docstrings. Each entry links to the notebooks that use it.

```{toctree}
:maxdepth: 2

%s
```
"""


@cache
def subpackages() -> dict[str, list[str]]:
    """Return the public names of each subpackage or module that has any."""
    names = [found.name for found in pkgutil.iter_modules(samviz.__path__) if found.name != "__main__"]
    modules = {name: import_module(f"samviz.{name}") for name in names}
    return {name: module.__all__ for name, module in modules.items() if hasattr(module, "__all__")}


@cache
def public() -> dict[str, str]:
    """Return the full name of each public name, such as samviz.geometry.alignment for alignment."""
    return {name: f"samviz.{part}.{name}" for part, names in subpackages().items() for name in names}


def write_pages(folder: Path, notebooks: dict[str, NotebookNode]) -> None:
    """Write the index and one page per subpackage into an existing folder.

    Args:
        folder: where the pages go.
        notebooks: by their stems; their code decides which of them an entry links to.
    """
    users = {stem: used(notebook) for stem, notebook in notebooks.items()}
    for part, public_names in subpackages().items():
        entries = [entry(name, [stem for stem, names in users.items() if name in names]) for name in public_names]
        text = f"# samviz.{part}\n\n{inspect.getdoc(import_module(f'samviz.{part}'))}\n\n{''.join(entries)}"
        (folder / f"{part}.md").write_text(text, encoding="utf-8")
    (folder / "index.md").write_text(INDEX % "\n".join(subpackages()), encoding="utf-8")


def entry(name: str, stems: Iterable[str]) -> str:
    """Return the entry of one public name, with links to the notebooks that use it."""
    full = public()[name]
    thing = getattr(import_module(full.rpartition(".")[0]), name)
    if inspect.isclass(thing) and thing.__name__ != name:
        directive = f".. py:function:: {full}\n\n   Another name of :py:class:`{public()[thing.__name__]}`.\n"
    elif inspect.isclass(thing):
        directive = f".. autoclass:: {full}\n   :members:\n"
    elif callable(thing):
        directive = f".. autofunction:: {full}\n"
    else:
        keys = f"A dictionary of {', '.join(map(repr, thing))}." if isinstance(thing, dict) else ""
        directive = f".. py:data:: {full}\n\n   {keys}\n"
    links = ", ".join(f"[{stem}](../{stem}.ipynb)" for stem in stems)
    return f"## {name}\n\n```{{eval-rst}}\n{directive}```\n\n{links and f'Used in {links}.'}\n\n"


def used(notebook: NotebookNode) -> set[str]:
    """Return the public names that the code of a notebook uses."""
    lines = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    code = ast.parse(re.sub(r"^\s*[%!].*$", "", lines, flags=re.M))
    imported = {a.name for node in ast.walk(code) if isinstance(node, ast.ImportFrom) for a in node.names}
    attributes = {node.attr for node in ast.walk(code) if isinstance(node, ast.Attribute)}
    return (imported | attributes) & public().keys()


def links_of(notebook: NotebookNode) -> NotebookNode:
    """Return a Markdown cell that links the names that a notebook uses to their entries."""
    links = [f"{{py:obj}}`{name} <{public()[name]}>`" for name in sorted(used(notebook), key=str.casefold)]
    return new_markdown_cell(f"**API used in this notebook**: {', '.join(links)}")


def as_rst(app, what, name, thing, options, lines):
    """Add the fields of a dataclass, and escape what reStructuredText would take for markup."""
    if what == "class" and is_dataclass(thing):
        comments = re.findall(r"^    (\w+): .*?  # (.+)$", inspect.getsource(thing), re.M)
        lines += ["", "Attributes:", *(f"    {field}: {comment}" for field, comment in comments)] if comments else []
    doctest = False
    for i, line in enumerate(lines):
        doctest = line.lstrip().startswith(">>>") or (doctest and bool(line.strip()))
        if not doctest:
            parts = line.split("`")
            parts[::2] = [re.sub(r"([|*])|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
            lines[i] = "`".join(parts)
