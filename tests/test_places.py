"""What notebooks show where no widget comes up, what their first cell installs, and what their kernel may use."""

from __future__ import annotations

import asyncio
import sys
import tomllib
from functools import partial
from types import ModuleType, SimpleNamespace

import jupytext
import kernel_loop
import plotly.graph_objects as go
import pytest
from fresh import ROOT
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import Image
from kernel_loop import in_kernel

from samviz.lab import display

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# the first cell of each notebook


def first_cell(path):
    return next(cell.source for cell in jupytext.read(path, fmt="py:percent").cells if cell.cell_type == "code")


NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))


def run_first_cell():
    """Run it in a shell and return the arguments of %pip; it is the same in all notebooks."""
    (cell,) = {first_cell(path) for path in NOTEBOOKS}
    shell, commands = InteractiveShell(), []
    shell.register_magic_function(commands.append, magic_name="pip")
    shell.run_cell(cell).raise_error()
    return commands


def test_the_first_cell_installs_on_colab(colab, capsys):
    repository = PYPROJECT["tool"]["samviz"]["repository"]
    assert run_first_cell() == [f"install --quiet git+https://github.com/{repository}"]
    assert "is installed" in capsys.readouterr().out


def test_the_first_cell_does_nothing_elsewhere(capsys):
    assert run_first_cell() == []
    assert capsys.readouterr().out == ""


# what is shown


@pytest.fixture
def colab(monkeypatch):
    """Modules under Colab's names; the calls of its widget manager are in `calls`."""
    package, output = ModuleType("google.colab"), ModuleType("google.colab.output")
    output.calls = []
    output.enable_custom_widget_manager = lambda: output.calls.append("enable")
    for module in (ModuleType("google"), package, output):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delenv("SAMVIZ_STATIC", raising=False)
    return output


class View:
    """A widget; `acknowledged` is true once a browser has answered."""

    acknowledged = False


@pytest.fixture
def screen(monkeypatch):
    """Record what `display` shows, and the content of the place that it updates."""
    screen = SimpleNamespace(shown=[], pictures=[], shell=SimpleNamespace(execution_count=1))
    screen.update = lambda html: screen.pictures.append(html.data)

    def show(what, display_id=False):
        if display_id:
            screen.update(what)
            return screen
        return screen.shown.append(what)

    monkeypatch.setenv("SAMVIZ_STATIC", "0")
    monkeypatch.setattr("IPython.display.display", show)
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: screen.shell)
    monkeypatch.setattr(display, "WIDGET_TIMEOUT_S", 0.05)
    return screen


def a_picture():
    return go.Figure({"data": [{"y": [1, 2]}], "layout": {"title": {"text": "the picture itself"}}})


until = partial(kernel_loop.until, seconds=30)


def test_widgets_are_enabled_on_colab_before_the_first_is_shown(colab, screen, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: colab.calls.append("display"))
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: None)
    display.display_widget(View(), a_picture)
    assert colab.calls == ["enable", "display"]


def test_colab_is_interactive_and_its_picture_is_plotly_itself(colab, monkeypatch, capsys):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert display.is_interactive()
    assert isinstance(display.static_picture({"data": [], "layout": {}}, "nothing"), go.Figure)
    assert capsys.readouterr().out == ""  # no advice to install Chrome there


def test_a_widget_that_nobody_answers_for_gets_a_picture_until_one_does(screen):
    async def story():
        view = View()
        display.display_widget(view, a_picture)
        assert screen.shown == [view]
        assert screen.pictures == [""]
        await until(lambda: len(screen.pictures) == 2)
        assert "no widget has come up" in screen.pictures[1]
        assert "the picture itself" in screen.pictures[1]
        view.acknowledged = True
        await until(lambda: screen.pictures[2:] == [""])

    in_kernel(story)


def test_while_cells_run_a_late_answer_is_no_reason_for_a_picture(screen, monkeypatch):
    monkeypatch.setattr(display, "WIDGET_TIMEOUT_S", 0.3)

    async def story():
        display.display_widget(View(), a_picture)
        for _ in range(10):  # a long Run all: each cell ends before the timeout
            await asyncio.sleep(0.1)
            screen.shell.execution_count += 1
        assert screen.pictures == [""]
        await until(lambda: len(screen.pictures) == 2)

    in_kernel(story)


def test_where_the_widget_manager_is_refused_the_picture_says_why(colab, screen, monkeypatch):
    monkeypatch.setattr(display, "WIDGET_TIMEOUT_S", 1e6)

    def refuse():
        raise RuntimeError("not <today>")

    colab.enable_custom_widget_manager = refuse

    async def story():
        display.display_widget(View(), a_picture)
        await until(lambda: len(screen.pictures) == 2)
        assert "RuntimeError: not &lt;today&gt;" in screen.pictures[1]
        assert "the picture itself" in screen.pictures[1]

    in_kernel(story)


def test_an_image_is_embedded_with_its_alternative_text(screen):
    async def story():
        display.display_widget(View(), lambda: Image(b"\x89PNG\r\n\x1a\n", format="png", alt='a "line"'))
        await until(lambda: len(screen.pictures) == 2)
        assert '<img alt="a &quot;line&quot;" src="data:image/png;base64,iVBORw0KGgo="' in screen.pictures[1]

    in_kernel(story)
