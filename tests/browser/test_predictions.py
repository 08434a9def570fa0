"""A learner enters a prediction, in JupyterLab and in a page without a kernel, by pointer and by keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import samviz.figures
from samviz.figures.player import PlayerControl, player_data, player_html, player_js

from .pages import drag, expect, middle, offline, take_screenshot, violations

SOURCE = """
from samviz.lab import Panel, PredictChoice, PredictCurve, PredictDirection, PredictNumber, PredictPlace, Slider

LINE = {"center": (0.5, 0.5), "radius": 0.4, "start": 30}
KINDS = {
    "place": PredictPlace("Where does it end?", start=(0.5, 0.5), replies=[(0, 0, 0.2, "It does.")], otherwise="No."),
    "direction": PredictDirection("Where does it point?", **LINE, replies=[(-20, 20, "It does.")], otherwise="No."),
    "arrow": PredictDirection("And the arrow?", **LINE, period=360, replies=[(340, 380, "It does.")], otherwise="No."),
    "curve": PredictCurve(
        "How does it change?", x=(0, 0.5, 1), start=(0.5, 0.5, 0.5), replies=[(-1, 0.3, "It does.")], otherwise="No."
    ),
    "number": PredictNumber("How many?", label="steps", low=0, high=9, replies=[(0, 5, "It does.")], otherwise="No."),
    "choice": PredictChoice("Which?", options={"a": "the first", "b": "the second"}, replies={"b": "It does."}),
}


def draw(values):
    axis = {"range": [-0.2, 1.2]}
    layout = {"height": 420, "showlegend": False, "xaxis": axis, "yaxis": axis}
    start = {"type": "scatter", "mode": "markers", "x": [0], "y": [0], "name": "start"}
    yield {"data": [start], "layout": layout}, "The mark is the start."
    line = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, values["slope"]], "name": "line"}
    yield {"data": [start, line], "layout": layout}, f"The line ends at height {values['slope']:g}."


def panel(kind):
    controls = {"slope": Slider("slope", 1.0, stops=[0.5, 1.0])}
    return Panel(draw, controls, predict=KINDS[kind], description=f"A line: {kind}")
"""
NAMES: dict[str, Any] = {}
exec(SOURCE, NAMES)
KINDS = ["place", "direction", "arrow", "curve", "number", "choice"]
WHERE = ["notebook", "page"]
Opener = Callable[[str], Any]


def write_pages(folder: Path) -> None:
    """Write a page for each kind of question, as the book has them."""
    import plotly

    plotly_js = Path(plotly.__file__).parent / "package_data/plotly.min.js"
    css = (Path(samviz.figures.__file__).parent / "predict.css").read_text(encoding="utf-8")
    hidden = ".samviz-spoken { position: absolute; clip-path: inset(50%) }"
    (folder / "player.js").write_text(player_js(), encoding="utf-8")
    for kind in KINDS:
        panel, drawings = NAMES["panel"](kind), []
        (spec,) = (each for each in panel.view.controls if each["name"] == "guess")
        for values in ({"slope": 0.5, "guess": "skipped"}, {"slope": 1.0, "guess": "skipped"}, {"guess": None}):
            panel.set(**values)
            drawings.append((panel.figure, panel.sentence))
        controls = [PlayerControl("slope", ["0.5", "1"], 1)]
        (folder / f"{kind}.html").write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{kind}</title><style>{css}{hidden}</style>'
            f"<body><main><h1>{kind}</h1>{player_html('page', controls, 'A line', '', 420)}</main>"
            f'<script src="{plotly_js.as_uri()}"></script>'
            f"<script>{player_data('page', controls, drawings, 'f8', spec)}</script>"
            '<script src="player.js"></script></body></html>',
            encoding="utf-8",
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("player")
    write_pages(path)
    return path


@pytest.fixture(scope="module")
def kept(keep_notebook: Any) -> Any:
    return keep_notebook("predictions.ipynb", [SOURCE, *(f"{kind} = panel('{kind}')\n{kind}" for kind in KINDS)])


@pytest.fixture(params=WHERE)
def opened(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Return `opened(kind)`: the card with a question of that kind; each call loads it again."""
    if request.param == "notebook":
        notebook = request.getfixturevalue("kept")
        notebook.page.evaluate("localStorage.clear()")

        def open_cell(kind: str) -> Any:
            notebook.run_all()
            card = notebook.page.locator(".samviz-panel").nth(KINDS.index(kind))
            card.scroll_into_view_if_needed()
            card.locator(".main-svg").first.wait_for()
            return card

        yield open_cell
        assert notebook.errors == []
        return
    folder = request.getfixturevalue("folder")
    with offline(request.getfixturevalue("browser")) as page:

        def open_page(kind: str) -> Any:
            page.goto((folder / f"{kind}.html").as_uri())
            page.locator(".samviz-player[data-drawn]").wait_for()
            return page.locator(".samviz-player")

        yield open_page


def traces(card: Any) -> dict[str, list[list[float]]]:
    """The coordinates of the traces of a card by name."""
    read = "g => Object.fromEntries(g.data.map(t => [t.name, [Array.from(t.x), Array.from(t.y)]]))"
    return card.locator(".js-plotly-plot").evaluate(read)


def asks(card: Any) -> None:
    """Check that a card shows its question and nothing of the answer."""
    gone = "g => g.data.every(t => t.name !== 'line')"
    card.page.wait_for_function(gone, arg=card.locator(".js-plotly-plot").element_handle())
    expect(card.locator(".samviz-sentence")).to_have_text("The mark is the start.")
    expect(card.get_by_role("slider", name="slope").first).to_be_disabled()
    expect(card.get_by_role("button", name="Predict again")).to_have_count(0)
    expect(card).not_to_contain_text("The line ends", use_inner_text=True)


def answers(card: Any, sentence: str) -> None:
    """Wait until a card shows the answer with this sentence, and check that its controls are enabled."""
    expect(card.locator(".samviz-sentence")).to_have_text(f"{sentence} The line ends at height 1.".strip())
    card.page.wait_for_function(
        "g => g.data.some(t => t.name === 'line')", arg=card.locator(".js-plotly-plot").element_handle()
    )
    expect(card.get_by_role("slider", name="slope").first).to_be_enabled()
    expect(card.get_by_role("spinbutton")).to_have_count(0)


def press(card: Any, name: str) -> None:
    card.get_by_role("button", name=name, exact=True).click()


KEYS = {  # the element with the focus at first, the keys, the sentence, and the guess on the graph
    "place": ("horizontal", "0 Tab 0 Enter", "You expected (0, 0). It does.", [[0], [0]]),
    "direction": ("angle in degrees", "5 Enter", "You expected 5°. It does.", None),
    "arrow": ("angle in degrees", "3 5 0 Enter", "You expected 350°. It does.", None),
    "curve": (
        "height at 0",
        "1 Tab 0 . 5 Tab 0 Enter",
        "You expected a curve that ends at 0. It does.",
        [[0, 0.5, 1], [1, 0.5, 0]],
    ),
    "number": ("steps", "7 Enter", "You expected 7. No.", None),
    "choice": ("the first", "ArrowDown Tab Enter", "You expected “the second”. It does.", None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_guess_is_entered_with_the_keyboard(opened: Opener, kind: str) -> None:
    card = opened(kind)
    asks(card)
    label, keys, sentence, guess = KEYS[kind]
    field = card.get_by_label(label, exact=True)
    field.focus()
    if kind != "choice":
        field.select_text()
    for key in keys.split():
        card.page.keyboard.press(key)
    answers(card, sentence)
    if guess:
        assert traces(card)["your guess"] == guess
    assert ("your guess" in traces(card)) == (kind not in ("number", "choice"))
    card.page.wait_for_function("document.activeElement.textContent === 'Predict again'")
    card.page.keyboard.press("Enter")
    asks(card)
    card.page.wait_for_function("document.activeElement.tagName === 'INPUT'")


def drag_handle(card: Any, name: str, right: float, up: float) -> None:
    """Drag a handle by so many units of the axes."""
    (x, y), plot = middle(card.get_by_role("button", name=name)), card.locator(".nsewdrag").first.bounding_box()
    drag(card.page, (x, y), (x + right * plot["width"] / 1.4, y - up * plot["height"] / 1.4))


@pytest.mark.parametrize("kind", ["place", "direction", "curve"])
def test_a_guess_is_dragged_and_its_handle_has_arrow_keys(opened: Opener, kind: str) -> None:
    card = opened(kind)
    name = {"curve": "your guess, height at 1"}.get(kind, "your guess")
    fields = card.get_by_role("spinbutton")
    drag_handle(card, name, *{"place": (-0.4, -0.4), "direction": (-0.3464, 0.2), "curve": (0, -0.3)}[kind])
    values = [float(field.input_value()) for field in fields.all()]
    assert values == pytest.approx(
        {"place": [0.1, 0.1], "direction": [90], "curve": [0.5, 0.5, 0.2]}[kind], abs=0.02 if kind != "direction" else 2
    )
    card.get_by_role("button", name=name).press("Shift+ArrowUp")
    after = float(fields.last.input_value())
    assert after - values[-1] == pytest.approx(10 if kind == "direction" else 0.14, abs=0.01)
    assert card.get_by_role("button", name=name).get_attribute("aria-roledescription") == "draggable point"
    press(card, "Show the answer")
    card.locator(".samviz-sentence").filter(has_text="The line ends").wait_for()
    expect(card.get_by_role("button", name=name)).to_have_count(0)  # the handle is hidden


@pytest.mark.parametrize("kind", ["place", "curve"])
def test_a_click_on_the_graph_moves_the_nearest_point(opened: Opener, kind: str) -> None:
    card = opened(kind)
    box = card.locator(".nsewdrag").first.bounding_box()
    card.page.mouse.click(box["x"] + box["width"] * 1.2 / 1.4, box["y"] + box["height"] * 1.2 / 1.4)
    values = [float(field.input_value()) for field in card.get_by_role("spinbutton").all()]
    assert values == pytest.approx([1, 0] if kind == "place" else [0.5, 0.5, 0], abs=0.01)


def zoomed(card: Any) -> None:
    """Drag a rectangle over the right upper part of the plot, which zooms in the notebook."""
    box = card.locator(".nsewdrag").first.bounding_box()
    start, end = ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in ((0.4, 0.1), (0.95, 0.95)))
    drag(card.page, start, end)


def centers(card: Any) -> list[tuple[float, float]]:
    """The centres of the handle and of the mark of the guess on the page."""
    mark = card.locator(".scatterlayer .trace").last.locator(".points path")
    return [middle(card.get_by_role("button", name="your guess")), middle(mark)]


def test_the_handle_stays_on_the_guess_after_zoom_resizing_and_a_change_of_theme(opened: Opener) -> None:
    card = opened("place")
    page = card.page
    changes: list[Callable[[], Any]] = [
        lambda: drag_handle(card, "your guess", 0.2, 0.1),
        lambda: zoomed(card),
        lambda: page.set_viewport_size({"width": 900, "height": 900}),
        lambda: page.emulate_media(color_scheme="dark"),
        lambda: page.evaluate("document.documentElement.setAttribute('theme', 'dark')"),
    ]
    try:
        for change in changes:
            change()
            page.wait_for_timeout(1500)
            handle, mark = centers(card)
            assert handle == pytest.approx(mark, abs=1.5)
        ring = card.get_by_role("button", name="your guess")
        page.mouse.move(0, 0)
        shown = ring.evaluate("node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).borderRadius]")
        assert shown == ["rgba(0, 0, 0, 0)", "50%"]  # it does not cover the mark
    finally:
        page.evaluate("document.documentElement.removeAttribute('theme')")
        page.set_viewport_size({"width": 1440, "height": 1100})
        page.emulate_media(color_scheme="light")
    values = [float(field.input_value()) for field in card.get_by_role("spinbutton").all()]
    assert values == pytest.approx([0.7, 0.6], abs=0.02)
    press(card, "Show the answer")
    card.locator(".samviz-sentence").filter(has_text="You expected (0.").wait_for()


@pytest.mark.parametrize("start", ["field", "button", "graph"])
def test_escape_skips_the_question(opened: Opener, start: str) -> None:
    card = opened("place")
    if start == "graph":
        card.locator(".nsewdrag").first.click(position={"x": 50, "y": 50})
    else:
        (
            card.get_by_label("vertical") if start == "field" else card.get_by_role("button", name="Show the answer")
        ).focus()
    card.page.keyboard.press("Escape")
    answers(card, "")
    assert "your guess" not in traces(card)


def test_an_incomplete_guess_is_refused(opened: Opener) -> None:
    card = opened("number")
    for value, message in (("", "Enter a number from 0 to 9 first"), ("12", "Enter a number from 0 to 9 first")):
        card.get_by_label("steps").fill(value)
        press(card, "Show the answer")
        card.get_by_role("alert").filter(has_text=message).wait_for()
        asks(card)
    card = opened("choice")
    press(card, "Show the answer")
    card.get_by_role("alert").filter(has_text="Choose one of the answers first").wait_for()


def test_answers_survive_a_reload_and_are_exported(opened: Opener, tmp_path: Path) -> None:
    card = opened("choice")
    card.get_by_label("the first").check()
    press(card, "Show the answer")
    answers(card, "You expected “the first”.")
    card = opened("choice")
    answers(card, "You expected “the first”.")
    card = opened("place")
    press(card, "Skip (Esc)")
    answers(card, "")
    with card.page.expect_download() as download:
        card.get_by_role("link", name="Export my answers").click()
    download.value.save_as(tmp_path / "answers.json")
    exported = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert [(each["question"], each["guess"]) for each in exported] == [
        ("Which?", "a"),
        ("Where does it end?", "skipped"),
    ]
    assert all(each["time"].endswith("Z") for each in exported)
    press(card, "Predict again")
    card = opened("place")
    asks(card)


def test_a_browser_without_storage_asks_again(opened: Opener) -> None:
    card = opened("place")
    card.page.evaluate(
        "() => { [window.kept, Storage.prototype.setItem] = [Storage.prototype.setItem, () => { throw new Error() }] }"
    )
    press(card, "Show the answer")
    answers(card, "You expected (0.5, 0.5). No.")
    card.page.evaluate("() => { Storage.prototype.setItem = window.kept }")
    asks(opened("place"))


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(opened: Opener, kind: str) -> None:
    card = opened(kind)
    selector = ".samviz-player" if card.page.url.startswith("file:") else ".samviz-panel"
    take_screenshot(card.page, f"prediction_{kind}_{selector[8:]}", full_page=False)
    assert violations(card.page, selector) == []
