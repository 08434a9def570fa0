"""A panel: a few declared controls, one figure drawn for their values, and a sentence about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import traitlets as t

from samviz.lab.attended import attended, present, static_picture
from samviz.lab.controls import Control, declared, spec
from samviz.lab.player import Player
from samviz.lab.wire import PlotView, script

Drawing = tuple[dict[str, Any], str]
"""A figure as plain plotly JSON, and one sentence about it."""


class PanelView(PlotView):
    """The panel's window. The browser half is ``panel.js``.

    Args:
        kwargs: initial values of the traits.
    """

    _esm = script("panel.js")

    controls = t.List(t.Dict(), help="from `samviz.lab.controls.spec`").tag(sync=True)
    values = t.Dict(help="each control's value by its name").tag(sync=True, echo_update=False)
    sentence = t.Unicode().tag(sync=True)


class Panel:
    """Controls above one figure, which is drawn anew when a control moves.

    Show it by leaving it as the last line of a cell.

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
        drag: Mapping[str, tuple[float, float]] | None = None,
        description: str,
    ) -> None:
        """Declare the controls and draw for where they start.

        Args:
            draw: called with the values by name; gives a figure and a sentence, or yields them one after another, the
                last one being final. The figure is plain plotly JSON, in which numpy arrays may stand. Work of more
                than about 20 ms should yield in between: that is where a moved control is heard, and then it starts
                again. It must not write into arrays that it has given.
            controls: by name, in the order in which they stand.
            drag: where each draggable point is at first, in the coordinates of the first axes; the figure holds a
                scatter trace with its name, which shows it. Its value is a tuple (x, y).
            description: what the graph shows, for those who cannot see it.

        Raises:
            TypeError: when `draw` is no function, or a control none of samviz.lab.
            ValueError: when a control starts at a value that it cannot have, or a name stands twice.
        """
        if not callable(draw):
            raise TypeError(f"draw is {draw!r}; expected a function of the values")
        self.controls = declared(controls, drag or {})
        self.figure: dict[str, Any] = {}
        self.sentence = ""
        self._call = draw
        self._fresh = False  # whether that figure is yet to be shown
        self._asked: dict[str, Any] | None = None  # the values that the latest work is about
        self.view = PanelView(
            controls=[spec(name, control) for name, control in self.controls.items()],
            values={name: control.take(name, control.value) for name, control in self.controls.items()},
            description=description,
        )
        self.player = Player(more=lambda: None, draw=self._draw, ready=lambda: self.view.ready, fail=self._fail)
        work = self._work()
        next(work)  # a mistake in `draw` is the cell's own error
        self._draw(True)
        self.player.begin(work)
        self.view.observe(lambda change: self.player.post(self._heed, change.old), "values")

    # what a person or a script can do

    @property
    def values(self) -> dict[str, Any]:
        """The controls' present values by name."""
        return {name: control.take(name, self.view.values.get(name)) for name, control in self.controls.items()}

    def set(self, **values: Any) -> None:
        """Move controls; the figure follows.

        Args:
            values: by name.

        Raises:
            ValueError: when there is no such control, or it cannot have that value; none is moved then.
        """
        if unknown := values.keys() - self.controls.keys():
            given, known = (", ".join(map(repr, names)) for names in (sorted(unknown), self.controls))
            raise ValueError(f"there is no control {given}; expected {known}")
        taken = {name: self.controls[name].take(name, value) for name, value in values.items()}
        self.view.values = self.view.values | taken
        if not attended():
            self._settle()

    def static(self) -> Any:
        """The present picture as something that shows without a kernel: a PNG where one can be drawn."""
        return static_picture(self.figure, f"{self.view.description}: {self.sentence}")

    def _ipython_display_(self) -> None:
        if not attended():
            self._settle()
        present(self.view, self.static)

    # how work reaches the screen

    def _heed(self, before: dict[str, Any]) -> None:
        """Controls have moved; where one went to what it cannot have, all go back."""
        try:
            self.values  # noqa: B018
        except ValueError:
            self.view.values = before
            raise
        self._restart()

    def _restart(self) -> None:
        """Draw for the present values, instead of for those before."""
        if self._asked != self.values:
            self.player.begin(self._work())

    def _settle(self) -> None:
        """Come to the end here and now, since nobody watches who would wait."""
        try:
            self._restart()
            if self.player.work is not None:
                self.player.finish(self.player.work)
        except Exception as error:
            self._fail(error)

    def _work(self) -> Iterator[None]:
        self._asked = self.values
        made = self._call(dict(self._asked))
        for drawing in made if isinstance(made, Iterator) else [made]:
            self.figure, self.sentence = drawing
            self.view.alert = ""
            self._fresh = self.player.due = True  # a picture of how far it is, when the browser is ready
            yield

    def _draw(self, heard: bool) -> None:
        if self._fresh:  # the end of work asks once more for its last picture
            self._fresh = False
            self.view.sentence = self.sentence
            self.view.show(self.figure, heard)

    def _fail(self, error: BaseException) -> None:
        """An exception in the work: say so; the last good picture stays."""
        if isinstance(error, KeyboardInterrupt):
            self.view.alert = "Interrupted; move a control to draw again."
        else:
            name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            self.view.alert = f"{name}{error}. The picture is that of the last values that worked."
