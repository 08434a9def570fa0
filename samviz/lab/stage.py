"""How a session reaches the screen: its work in pieces, with progress, pictures and alerts in the view."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from samviz.dynamics import RULES
from samviz.lab import words
from samviz.lab.player import Player
from samviz.lab.scene import planes_of
from samviz.lab.session import Session
from samviz.lab.share import Shared, replayed
from samviz.lab.view import LabView


class Stage:
    """The session on show, the view that shows it, and the player that does its work.

    Attributes:
        session: replaced when a Reset or a shared run is ready to be drawn.
        view: the widget.
        player: does the work.
        restarting: what is left of a Reset; None when none is under way.
    """

    def __init__(self, session: Session, presets: list[str], steps_per_frame: int) -> None:
        """Prepare; nothing is shown yet.

        Args:
            session: at its start.
            presets: names to choose from.
            steps_per_frame: steps between two pictures.
        """
        settings, problem, samples = session.run.settings, session.problem, session.problem.samples
        view = LabView(
            rules=[[n, words.rule_name(n)] for n in RULES if n != "label_noise" or problem.square_targets],
            planes=planes_of(problem),
            presets=presets,
            samples=samples,
            rule=settings.rule,
            rho=settings.rho,
            lr=settings.lr,
            batch_size=settings.batch_size or max(samples, 1),
            seed=session.run.seed,
            steps_per_frame=steps_per_frame,
            plane="hessian",
        )
        self.session, self.view = session, view
        self.restarting: Iterator[None] | None = None
        self.player = Player(more=self._more, draw=self._draw, ready=lambda: view.ready, fail=self._fail)

    def begin(self, work: Callable[[Session], Iterator[None]]) -> None:
        """Put the session's work in place of what is under way, but after a Reset, which is always completed.

        Args:
            work: of the session that is then on show.
        """
        self.player.begin(self.shown(self._in_turn(work)))

    def restart(self, restarted: Generator[None, None, Session]) -> None:
        """Put another session in place of the one on show as soon as it is ready to be drawn.

        Args:
            restarted: makes that session; replaces a Reset that is under way.
        """
        self.restarting = self._replace(restarted)
        self.begin(lambda session: iter(()))

    def _in_turn(self, work: Callable[[Session], Iterator[None]]) -> Iterator[None]:
        for _ in self.restarting or ():  # with `yield from` a Reset would end when other work replaces this
            yield
        yield from work(self.session)

    def _replace(self, restarted: Generator[None, None, Session]) -> Iterator[None]:
        self.session = yield from restarted
        self.restarting = None

    def shown(self, work: Iterator[None]) -> Iterator[None]:
        """The work, with its progress, its notices and its end shown in the view."""
        view = self.view
        self.session.progress = None  # of work that was cut short
        for piece in work:
            view.progress, view.progress_label = self.session.progress or (-1.0, view.progress_label)
            yield piece
        view.progress = -1.0
        view.plane = self.session.scene.kind
        if self.session.notice:
            view.alert, self.session.notice = self.session.notice, ""
        if self.session.stopped:
            view.playing = False
            view.alert = f"{self.session.stopped} The history is kept; lower η and press Reset."

    def replay(self, shared: Shared) -> Iterator[None]:
        """Take a shared run's steps behind the scene, then show it; cut short, it changes nothing.

        Args:
            shared: of the session's own problem.

        Yields:
            Nothing, between pieces.
        """
        self.session = again = yield from replayed(self.session, shared)
        row = again.now()
        with self.view.hold_trait_notifications():
            self.view.rule, self.view.lr, self.view.rho = row["rule"], row["lr"], row["rho"]
            self.view.batch_size, self.view.seed = max(row["batch_size"], 1), again.run.seed

    def _more(self) -> Iterator[None] | None:
        view = self.view
        return self.shown(self.session.frame(view.steps_per_frame, live=True)) if view.playing else None

    def _draw(self, heard: bool) -> None:
        view, session = self.view, self.session
        line = session.status(view.playing)
        view.status = line + (f" Seed {view.seed} starts at Reset." if view.seed != session.run.seed else "")
        view.show(session.figure(view.compare), heard)

    def _fail(self, error: BaseException) -> None:
        """An exception in the work: say so, stop, and stay usable."""
        self.restarting = None
        self.view.playing = False
        self.view.progress = -1.0
        if isinstance(error, KeyboardInterrupt):
            self.view.alert = "Interrupted; press Play to continue."
        else:
            self.view.alert = f"{type(error).__name__}: {error}. The history is kept; press Reset to start again."
