"""A panel: a few declared controls, one figure drawn for their values, and a sentence about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import traitlets as t

from samviz.figures.drawing import stack, typeset
from samviz.lab.controls import GUESS, Control, declared
from samviz.lab.display import display_widget, is_interactive, static_picture
from samviz.lab.predictions import Prediction
from samviz.lab.scheduler import Scheduler
from samviz.lab.widget import HERE, PlotWidget, script

Drawing = tuple[dict[str, Any], str]
"""A figure as plain plotly JSON, and one sentence about it."""


class PanelWidget(PlotWidget):
    """The widget of a panel."""

    _esm = script("../figures/predict.js", "panel.js")
    _css = PlotWidget._css + (HERE / "../figures/predict.css").read_text(encoding="utf-8")
    notebook = t.Unicode(help="its file name, under which the page stores answers; empty: unknown").tag(sync=True)


class Panel:
    """Controls above one figure, which is redrawn when a control moves.

    Show it by leaving it as the last line of a cell.

    Attributes:
        view: the widget.
        figure: the present figure, as plain plotly JSON.
        sentence: the sentence about it.

    >>> from samviz.lab import Panel, Slider
    >>> def draw(values):
    ...     return {"data": [{"y": [0, values["a"]]}], "layout": {}}, f"It ends at {values['a']:g}."
    >>> panel = Panel(draw, {"a": Slider("slope", 1.0, stops=[0, 1, 2])}, description="a line")
    >>> panel.set(a=1.5)
    >>> panel.values, panel.sentence
    ({'a': 1.5}, 'It ends at 1.5.')
    """

    def __init__(
        self,
        draw: Callable[[dict[str, Any]], Drawing | Iterator[Drawing]],
        controls: Mapping[str, Control],
        *,
        predict: Prediction | None = None,
        drag: Mapping[str, tuple[float, float]] | None = None,
        description: str,
    ) -> None:
        """Declare the controls and draw for their first values.

        Args:
            draw: called with the values by name; returns a figure and a sentence, or yields several, the last of which
                is final. The figure is plain plotly JSON, in which numpy arrays may occur. Work of more than about
                20 ms should yield in between: there a moved control is handled, and the work starts again. It must not
                write into arrays that it has returned.
            controls: by name, in the order in which they are shown.
            predict: a question that is asked first. Until it is answered or skipped, `values["guess"]` is None, the
                controls are disabled, and only the first drawing is shown: `draw` must yield the initial state first.
                The page draws the guess on the first axes, and puts its reply before the sentence.
            drag: the first position of each draggable point, in the coordinates of the first axes; a scatter trace with
                its name shows it. Its value is a tuple (x, y).
            description: what the graph shows, for screen readers.

        Raises:
            TypeError: when `draw` is no function, a control none of samviz.lab, or `draw` does not yield although there
                is a prediction.
            ValueError: when a control cannot have its first value, or two have the same name.
        """
        if not callable(draw):
            raise TypeError(f"draw is {draw!r}; expected a function of the values")
        self._draw_values = draw
        self._drawn_values: dict[str, Any] | None = None  # the values for which the latest work was started
        self._new_figure = False  # whether the figure has not been shown yet
        self.controls = declared(controls, drag or {}, predict)
        notebook = Path(os.environ.get("JPY_SESSION_NAME", "")).name
        self._connect(PanelWidget(self.controls, notebook=notebook, description=description))
        work = self._work()
        next(work)  # an error in `draw` is the cell's own error
        self._draw(True)
        self.scheduler.begin(work)

    def _connect(self, view: PlotWidget) -> None:
        """Schedule an update when a value of the widget changes."""
        self.view = view
        self.figure: dict[str, Any] = {}
        self.sentence = ""
        self.scheduler = Scheduler(
            next_work=self._next_work, draw=self._draw, ready=lambda: view.ready, fail=self._fail, report=self._report
        )
        view.observe(lambda change: self.scheduler.post(self._update), "values")

    @property
    def question(self) -> str:
        """The question for a prediction while the panel shows only its initial state, else an empty text."""
        guess = self.controls.get(GUESS)
        return guess.question if isinstance(guess, Prediction) and self.values[GUESS] is None else ""

    @property
    def values(self) -> dict[str, Any]:
        """The controls' present values by name."""
        return dict(self.view.values)

    def set(self, **values: Any) -> None:
        """Move controls; the figure follows.

        Args:
            values: by name.

        Raises:
            ValueError: when there is no such control, or it cannot have that value; none is moved then.
        """
        self.view.put(self.view.take(values))
        if not is_interactive():
            self._settle()

    def static(self) -> Any:
        """The present picture as something that shows without a kernel: a PNG where one can be drawn."""
        return static_picture(self.figure, f"{self.view.description}: {self.sentence} {self.question}".strip())

    def _ipython_display_(self) -> None:
        if not is_interactive():
            self._settle()
        display_widget(self.view, self.static)

    def _next_work(self) -> Iterator[object] | None:
        """Return work to start when there is none; a panel has none."""
        return None

    def _report(self, progress: Any) -> None:
        """Ignore the progress of work: a panel has no progress bar."""

    def _update(self) -> None:
        """Draw for the present values, unless the latest work is about them."""
        if self._drawn_values != self.values:
            self.scheduler.begin(self._work())

    def _settle(self) -> None:
        """Complete the drawing for the present values now."""
        try:
            self._update()
            self.scheduler.finish()
        except Exception as error:
            self._fail(error)

    def _work(self) -> Iterator[None]:
        self._drawn_values = self.values
        drawings = self._draw_values(dict(self._drawn_values))
        if self.question and not isinstance(drawings, Iterator):
            raise TypeError("draw returns a figure; with predict= it must yield the initial state first")
        for figure, sentence in drawings if isinstance(drawings, Iterator) else [drawings]:
            layout = figure.get("layout", {})
            narrow = stack(layout, layout.get("height", 450), figure.get("data", ()))  # 450 as in plotly
            self.figure = figure | {"layout": {"meta": narrow} | layout}
            self.sentence = typeset(sentence)
            self.view.alert = ""
            self._new_figure = self.scheduler.due = True  # show an intermediate picture when the browser is ready
            yield
            if self.question:
                return

    def _draw(self, can_acknowledge: bool) -> None:
        if self._new_figure:  # the scheduler draws once more when work ends
            self._new_figure = False
            self._show(can_acknowledge)

    def _show(self, can_acknowledge: bool) -> None:
        self.view.sentence = self.sentence
        self.view.show(self.figure, can_acknowledge)

    def _fail(self, error: BaseException) -> None:
        """Show an exception of the work; the last good picture stays."""
        if isinstance(error, KeyboardInterrupt):
            self.view.alert = "Interrupted; move a control to draw again."
        else:
            name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            self.view.alert = f"{name}{error}. The figure shows earlier values."
