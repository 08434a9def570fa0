"""The lab without a browser: its callbacks are called, its loop runs in asyncio, its picture is looked at as data."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stories
import torch
from no_float64 import NoFloat64
from stories import in_kernel, press

from samviz.dynamics import RULES
from samviz.figures import figure
from samviz.lab import Lab, words
from samviz.lab.presets import nice, pace
from samviz.lab.record import run_page
from samviz.problems import load, mlp, quadratic, valley

SINE = mlp([1, 24, 24, 1], data="sine")


until = partial(stories.until, seconds=20)


def test_starts_at_a_minimum_with_the_gradient_across_v1() -> None:
    lab = Lab(SINE, device="cpu")
    row = lab.history.rows[0]
    assert row["loss"] < 1e-5
    assert row["cos_v1"] < 1e-3
    assert (lab.view.rule, lab.view.rho, lab.view.batch_size) == ("sam", 0.0, 20)
    assert "CPU float64" in lab.view.status


def test_the_first_touch_of_rho_tells_the_story() -> None:
    lab = Lab(SINE, device="cpu").run(50)
    lab.view.rho = 0.005  # what the slider does
    lab.run(200)
    assert lab.history["cos_v1"][1] < 1e-3
    assert lab.history["cos_v1"][-1] > 0.99
    assert [(step, s.rho) for step, s in lab.session.run.changes] == [(0, 0.0), (50, 0.005)]
    marks = next(t for t in lab.session.figure(False)["data"] if t["name"] == "changes")
    assert marks["text"] == [" ρ 0 → 0.005 "]


def test_run_is_synchronous_and_repeatable() -> None:
    one, two = (Lab(SINE, rho=0.01, batch_size=3, seed=5, device="cpu").run(120) for _ in range(2))
    assert one.session.run.steps == 120
    assert np.array_equal(one.history["loss"], two.history["loss"])
    assert one.history["step"].tolist() == [0, 50, 100, 120]


def test_what_a_script_records_does_not_depend_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Lab(mlp([1, 8, 8, 1], data="sine"), rho=0.02, device="cpu").run(60)
    monkeypatch.setattr("samviz.lab.session.PIECE", 1e-9)  # as if steps were slow
    monkeypatch.setattr("samviz.lab.session.DEAR", 0)  # and every trace dear
    second = Lab(mlp([1, 8, 8, 1], data="sine"), rho=0.02, device="cpu").run(60)
    np.testing.assert_equal(second.history.rows, first.history.rows)
    assert second.session.estimates.rows == first.session.estimates.rows


def test_every_control_reaches_the_run() -> None:
    lab = Lab(SINE, device="cpu")
    lab.view.rule, lab.view.lr, lab.view.rho, lab.view.batch_size = "usam", 0.03, 0.0123, 7
    settings = lab.session.run.settings
    assert (settings.rule, settings.lr, settings.rho, settings.batch_size) == ("usam", 0.03, 0.0123, 7)
    lab.view.steps_per_frame = 10
    assert lab.run(25).history["step"].tolist() == [0, 10, 20, 25]
    lab.view.seed = 3
    assert "Seed 3 starts at Reset" in lab.view.status
    assert lab.session.run.seed == 0


@pytest.mark.parametrize("name", ["gradient descent", "SAM, small ρ (the theorem)", "SAM, large ρ (its edge)", "1-SAM"])
def test_presets_steer_the_running_run(name: str) -> None:
    lab = Lab(SINE, device="cpu").run(10)
    run = lab.session.run
    lab.view.lr = 0.02
    press(lab, "preset", name)
    assert lab.session.run is run
    wanted = lab.presets[name]
    assert run.settings.rho == wanted["rho"]
    assert run.settings.lr == wanted["lr"]
    assert (run.settings.batch_size or 20) == wanted["batch_size"]
    assert np.isfinite(lab.run(100).history["loss"]).all()


def test_an_unknown_preset_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"preset is 'x'; expected one of gradient descent, SAM, small"):
        Lab(quadratic([2.0, 1.0]), device="cpu").preset("x")


def test_reset_keeps_the_last_run_as_a_ghost() -> None:
    lab = Lab(SINE, rho=0.01, device="cpu").run(100)
    first = lab.history
    press(lab, "reset")
    assert lab.session.run.steps == 0
    assert lab.session.ghost is first
    assert lab.session.run.settings.rho == 0.01  # the controls' settings
    ghosts = [len(t["x"]) for t in lab.session.figure(False)["data"] if t["name"].startswith("last run")]
    assert ghosts == [0, 0, 0]
    lab.view.compare = True
    ghosts = [len(t["x"]) for t in lab.session.figure(True)["data"] if t["name"].startswith("last run")]
    assert ghosts == [3, 3, 3]


def test_reset_with_another_seed_starts_elsewhere() -> None:
    lab = Lab(mlp([1, 8, 1], data="sine"), device="cpu")
    start = lab.session.run.x
    lab.view.seed = 1
    press(lab, "reset")
    assert not torch.equal(lab.session.run.x, start)
    assert lab.session.run.seed == 1


def test_divergence_stops_tells_why_and_reset_works() -> None:
    lab = Lab(SINE, device="cpu").run(50)
    rows = len(lab.history)
    lab.view.lr = 5.0
    lab.run(5000)
    assert "diverged at step" in lab.view.alert
    assert "> 2" in lab.view.alert
    assert "Reset" in lab.view.alert
    assert lab.view.status.endswith("stopped · CPU float64, compiled · diverged")
    assert not lab.view.playing
    assert len(lab.history) >= rows
    assert bool(lab.session.run.x.isfinite().all())
    figure(lab.session.figure(False))
    lab.view.lr = 0.05
    press(lab, "reset")
    assert lab.view.alert == ""
    assert lab.run(60).session.run.steps == 60


def test_a_bad_value_is_refused_in_words_and_the_run_goes_on() -> None:
    lab = Lab(SINE, rho=0.01, device="cpu").run(10)
    lab.view.lr = 0.0
    assert "lr is 0.0; expected a learning rate above 0" in lab.view.alert
    assert lab.session.run.settings.lr == 0.05
    lab.view.lr = 0.01
    assert lab.view.alert == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, "lr is -1.0; expected a learning rate above 0"),
        ({"rho": -0.1}, "rho is -0.1; expected a perturbation radius of 0 or more"),
        ({"batch_size": 21}, "batch_size is 21; expected 1 to 20"),
        ({"rule": "adam"}, "rule is 'adam'; expected one of gd, sam, usam"),
        ({"x0": [1.0, 2.0]}, r"x0 has shape \(2,\); expected \(673,\)"),
        ({"steps_per_frame": 0}, "steps_per_frame is 0; expected 1 or more"),
        ({"seed": -1}, "seed is -1; expected"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lab(SINE, device="cpu", **arguments)


def test_planes_and_recentring() -> None:
    lab = Lab(SINE, rho=0.01, device="cpu")
    lab.view.plane = "pca"  # no trajectory yet
    assert "take more steps first" in lab.view.alert
    assert lab.view.plane == "hessian"
    lab.run(300)
    for kind in ("pca", "random", "hessian"):
        lab.view.plane = kind
        assert lab.session.scene.landscape.plane.kind == kind
        trail = next(t for t in lab.session.figure(False)["data"] if t["name"] == "latest steps")
        assert np.isfinite(trail["x"]).all()
    before = lab.session.scene.landscape
    press(lab, "recenter")
    assert lab.session.scene.landscape is not before


def test_the_height_is_one_object_while_the_slice_is_the_same() -> None:
    scene = Lab(SINE, device="cpu").session
    first, second = (next(t for t in scene.figure(False)["data"] if t["type"] == "contour")["z"] for _ in range(2))
    assert first is second  # so that it travels to the browser once


def labs_of_every_kind() -> dict[str, Lab]:
    inputs, labels = load("digits")
    return {
        "curve": Lab(SINE, rho=0.01, device="cpu"),
        "regions": Lab(mlp([2, 8, 1], data="spirals"), rho=0.01, device="cpu"),
        "two outputs": Lab(mlp([2, 8, 2], data="spirals", loss="cross_entropy"), rho=0.01, device="cpu"),
        "classes": Lab(mlp([64, 4, 10], data=(inputs[:60], labels[:60]), loss="cross_entropy"), rho=0.01, device="cpu"),
        "residuals": Lab(mlp([2, 3, 1], data=(np.eye(2), np.array([1.0, 2.0]))), rho=0.01, device="cpu"),
        "coordinates": Lab(quadratic([3.0, 2.0, 1.0]), rho=0.01, device="cpu"),
        "floor": Lab(valley(), rho=0.1, device="cpu"),
        "one parameter": Lab(quadratic([3.0, 1.0]), rho=0.0, device="cpu", dtype=torch.float32),
    }


def test_plotly_accepts_the_picture_of_every_problem() -> None:
    for kind, lab in labs_of_every_kind().items():
        drawn = figure(lab.run(30).session.figure(False))  # plotly checks every attribute
        assert len(drawn.data) > 12, kind
        assert not lab.view.alert, kind


@pytest.mark.parametrize("data", [None, "samples"])
def test_one_parameter_is_drawn_as_the_curve_of_its_loss(data: str | None, tmp_path: Path) -> None:
    problem = quadratic([2.0]) if data is None else quadratic([[[1.0]], [[3.0]]])  # L = x² in both
    lab = Lab(problem, rho=0.05, lr=0.3, device="cpu").run(40)
    assert lab.view.planes == [["hessian", "the one parameter"]]
    drawn = {trace.get("name"): trace for trace in lab.figure["data"]}
    curve, trail, here = (drawn[name] for name in ("loss along x", "latest steps", "iterate"))
    x = float(lab.session.run.x)
    np.testing.assert_allclose(curve["y"], curve["x"] ** 2, rtol=1e-12)
    np.testing.assert_allclose(trail["y"], trail["x"] ** 2, rtol=1e-12)
    assert (here["x"][0], here["y"][0]) == pytest.approx((x, x * x))
    assert curve["x"].min() < trail["x"][-10:].min() < trail["x"][-10:].max() < curve["x"].max()
    figure(lab.figure)  # plotly checks every attribute
    again = Lab.from_share(lab.share())
    assert float(again.session.run.x) == x
    assert lab.export(tmp_path / "run.html", frames=5).stat().st_size > 1e5
    press(lab, "reset")
    assert lab.session.run.steps == 0
    lab.view.lr = 5.0
    lab.run(5000)
    assert "diverged at step" in lab.view.alert
    figure(lab.figure)
    lab.view.lr = 0.3
    press(lab, "reset")
    assert lab.view.alert == ""
    assert lab.run(60).session.run.steps == 60


def test_two_parameters_are_drawn_on_their_plane(tmp_path: Path) -> None:
    lab = Lab(quadratic([2.0, 1.0]), rho=0.05, lr=0.3, device="cpu").run(40)
    slice_ = next(trace for trace in lab.figure["data"] if trace["type"] == "contour")
    x = lab.session.run.x[0].numpy()
    trail = next(trace for trace in lab.figure["data"] if trace["name"] == "latest steps")
    assert np.abs(slice_["x"]).max() > np.abs(trail["x"]).max()
    assert lab.session.scene.landscape.plane.project(torch.from_numpy(x[None]))[1] == pytest.approx(0, abs=1e-9)
    assert float(Lab.from_share(lab.share()).session.run.x[0, 0]) == x[0]
    assert lab.export(tmp_path / "run.html", frames=5).stat().st_size > 1e5
    lab.view.lr = 5.0
    assert "diverged at step" in lab.run(5000).view.alert
    press(lab, "reset")
    assert lab.session.run.steps == 0


def test_a_plane_that_cannot_be_sliced_is_an_error_and_no_endless_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(quadratic([2.0, 1.0]), device="cpu")

    def refused(*args: Any, **more: Any) -> Any:
        raise ValueError("no plane, on purpose")

    monkeypatch.setattr("samviz.lab.scene.hessian_plane", refused)
    with pytest.raises(ValueError, match="on purpose"):
        lab.recenter()


def test_play_pause_and_step_on_a_loop() -> None:
    async def story() -> None:
        lab = Lab(SINE, rho=0.005, device="cpu")
        press(lab, "play")
        await until(lambda: lab.session.run.steps >= 50)
        assert lab.view.playing
        press(lab, "pause")
        await until(lambda: lab.player.task is not None and lab.player.task.done())
        at = lab.session.run.steps
        assert lab.history["step"][-1] == at  # what is shown is where it stands
        assert f"step {at:,} · paused" in lab.view.status
        press(lab, "step")
        await until(lambda: lab.session.run.steps == at + 1)
        assert not lab.view.playing

    in_kernel(story)


def test_controls_may_come_from_any_thread_while_it_runs() -> None:
    async def story() -> None:
        lab = Lab(SINE, device="cpu")
        run = lab.session.run
        lab.play()
        for number, rho in enumerate((0.001, 0.002, 0.004), start=1):
            steps = run.steps
            thread = threading.Thread(target=lambda rho=rho: setattr(lab.view, "rho", rho))
            thread.start()
            await until(lambda n=number, s=steps: len(run.changes) == n + 1 and run.steps > s + 50)
            thread.join()
        lab.pause()
        assert [s.rho for _, s in run.changes] == [0.0, 0.001, 0.002, 0.004]
        assert lab.session.run is run

    in_kernel(story)


def test_two_labs_run_side_by_side() -> None:
    async def story() -> None:
        labs = [Lab(SINE, rho=0.005, device="cpu"), Lab(quadratic([3.0, 1.0]), rho=0.05, device="cpu")]
        for lab in labs:
            lab.play()
        await until(lambda: all(lab.session.run.steps >= 200 for lab in labs))
        for lab in labs:
            lab.pause()

    in_kernel(story)


def test_reset_kills_stale_work() -> None:
    async def story() -> None:
        lab = Lab(SINE, rho=0.005, device="cpu")
        lab.play()
        await until(lambda: lab.session.run.steps >= 50)
        old = lab.session.run
        press(lab, "reset")
        await until(lambda: lab.session.run is not old)
        steps = old.steps
        await asyncio.sleep(0.1)
        assert old.steps == steps
        assert lab.session.run.steps == 0

    in_kernel(story)


ACTIONS: dict[
    str, tuple[Callable[[Lab], object], Callable[[Lab], object]]
] = {  # while a Reset is under way, and its effect
    "slider": (lambda lab: lab.view.set_trait("rho", 0.02), lambda lab: lab.session.run.settings.rho == 0.02),
    "plane": (lambda lab: lab.view.set_trait("plane", "random"), lambda lab: lab.session.scene.kind == "random"),
    "ghost": (lambda lab: lab.view.set_trait("compare", True), lambda lab: not lab.view.playing),
    "step": (lambda lab: press(lab, "step"), lambda lab: lab.session.run.steps == 1),
    "recenter": (lambda lab: press(lab, "recenter"), lambda lab: not lab.session.scene.wanted),
    "pause": (lambda lab: press(lab, "pause"), lambda lab: not lab.view.playing),
    "reset": (lambda lab: press(lab, "reset"), lambda lab: lab.session.run.steps == 0),
    "play": (lambda lab: press(lab, "play"), lambda lab: lab.view.playing),
    "share": (lambda lab: press(lab, "share"), lambda lab: lab.view.shared),
}


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("seed", [0, 1], ids=["same start", "another start"])
def test_a_reset_is_completed_whatever_is_touched_at_whichever_moment(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's pieces of work are taken one at a time, with a picture after each, and the action after the k-th."""
    monkeypatch.setattr("samviz.problems.Problem.at_once", 400)  # a slice of five pieces

    async def story() -> None:
        act, effect = ACTIONS[name]
        lab = Lab(quadratic([3.0, 2.0, 1.0]), rho=0.01, lr=0.05, device="cpu")
        player = lab.player
        player.wake = lambda: None  # type: ignore[method-assign]

        async def advance() -> bool:
            await asyncio.sleep(0)  # what was posted
            player.drawn, player.due = -np.inf, True
            return player._advance() and player.work is not None

        moment, completed = 0, False
        while not completed:
            lab.view.rho, lab.view.plane, lab.view.compare, lab.view.seed = 0.01, "hessian", False, 0
            lab.play()
            for _ in range(3):
                await advance()
            old = lab.session.run
            lab.view.seed = seed
            press(lab, "reset")
            for _ in range(moment):
                await advance()
            completed = lab.session.run is not old
            act(lab)
            while await advance() or lab.session.run is old:
                if lab.view.playing and lab.session.run is not old:
                    break
            assert effect(lab), moment
            assert lab.session.run.seed == seed
            assert lab.session.run.steps <= 1 or lab.view.playing
            assert lab.view.alert == ""
            press(lab, "pause")
            while await advance():
                pass
            moment += 1
        assert moment > 5

    in_kernel(story)


def test_an_exception_in_the_loop_is_shown_and_the_lab_can_be_reset() -> None:
    async def story() -> None:
        lab = Lab(SINE, rho=0.005, device="cpu")

        def broken(n: int = 1) -> None:
            raise ZeroDivisionError("on purpose")

        lab.session.run.step = broken  # type: ignore[method-assign]
        lab.play()
        await until(lambda: bool(lab.view.alert))
        assert "ZeroDivisionError: on purpose" in lab.view.alert
        assert not lab.view.playing
        lab.reset()
        await until(lambda: lab.view.alert == "" and lab.player.task is not None and lab.player.task.done())
        lab.play()
        await until(lambda: lab.session.run.steps >= 50)
        lab.pause()

    in_kernel(story)


@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself SIGINT there")
def test_an_interrupt_pauses_playing_labs() -> None:
    """Between cells a kernel ignores SIGINT; a lab handles it while it plays."""

    async def story() -> None:
        labs = [Lab(quadratic([3.0, 1.0]), rho=0.05, device="cpu") for _ in range(2)]
        for lab in labs:
            lab.play()
        await until(lambda: all(lab.session.run.steps >= 50 for lab in labs))
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: all(lab.player.task is not None and lab.player.task.done() for lab in labs))
        for lab in labs:
            assert lab.view.alert == "Interrupted; press Play to continue."
            assert not lab.view.playing
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        steps = labs[0].session.run.steps
        labs[0].play()
        await until(lambda: labs[0].session.run.steps >= steps + 50)
        labs[0].pause()
        await until(lambda: labs[0].player.task is not None and labs[0].player.task.done())
        assert labs[0].view.alert == ""

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        in_kernel(story)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_is_left_to_whoever_handles_it() -> None:
    async def story() -> None:
        lab = Lab(quadratic([3.0, 1.0]), rho=0.05, device="cpu")
        handler = signal.getsignal(signal.SIGINT)
        lab.play()
        await until(lambda: lab.session.run.steps >= 50)
        assert signal.getsignal(signal.SIGINT) is handler
        lab.pause()

    in_kernel(story)


def test_divergence_while_playing_stops_the_loop() -> None:
    async def story() -> None:
        lab = Lab(SINE, device="cpu")
        lab.play()
        lab.view.lr = 5.0
        await until(lambda: "diverged at step" in lab.view.alert)
        await until(lambda: lab.player.task is not None and lab.player.task.done())
        assert not lab.view.playing
        lab.play()
        assert not lab.view.playing
        assert "press Reset" in lab.view.alert

    in_kernel(story)


def test_frames_never_queue_up() -> None:
    async def story() -> None:
        lab = Lab(quadratic([3.0, 1.0]), rho=0.05, device="cpu")
        shown: list[float] = []
        lab.view.show = lambda figure, heard: shown.append(time.monotonic())  # type: ignore[method-assign]
        lab.player.ready = lambda: False  # a browser that does not answer
        lab.play()
        await asyncio.sleep(2.3)
        lab.pause()
        assert 1 <= len(shown) <= 4  # one a second

    in_kernel(story)


def test_play_in_a_script_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"lab\.run\(n\)"):
        Lab(quadratic([3.0, 1.0]), device="cpu").play()


def test_with_nobody_there_it_runs_a_burst_and_leaves_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMVIZ_STATIC", "1")
    outputs: list[Any] = []
    monkeypatch.setattr("IPython.display.display", outputs.append)
    monkeypatch.setattr("samviz.lab.lab.static_picture", lambda plain, alt: (len(plain["data"]), alt))
    lab = Lab(SINE, device="cpu")
    lab._ipython_display_()
    assert lab.session.run.steps == 600
    assert lab.history["cos_v1"][-1] > 0.99
    assert outputs[0] is lab.view
    assert outputs[1][0] > 12
    assert "step 600" in outputs[1][1]
    monkeypatch.setenv("SAMVIZ_STATIC", "0")
    lab._ipython_display_()
    assert len(outputs) == 3  # somebody is there: the view alone


def test_without_kaleido_the_picture_is_plotly_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import plotly.graph_objects as go
    import plotly.io

    def missing(*args: Any, **more: Any) -> bytes:
        raise ValueError("kaleido is not there")

    monkeypatch.setattr(plotly.io, "to_image", missing)
    assert isinstance(Lab(quadratic([3.0, 1.0]), device="cpu").static(), go.Figure)
    assert "pip install kaleido" in capsys.readouterr().out


def test_nice_numbers_and_paces() -> None:
    assert [nice(v) for v in (0.0487, 0.0975, 0.62, 3.4, 7.2)] == [0.05, 0.1, 0.5, 5.0, 10.0]
    assert pace(SINE) == 50
    assert 1 <= pace(mlp([64, 32, 10], data="digits")) <= 10


@pytest.mark.parametrize(
    ("change", "words_of_phase", "words_of_look"),
    [
        ({"rho": 0.0}, "gradient descent", "Raise ρ"),
        ({"rho": 0.0, "lr": 0.2}, "at the edge of stability", "Raise ρ"),
        ({"rho": 0.0, "lr": 0.5}, "beyond the edge of stability", "Raise ρ"),
        ({"rule": "gd"}, "gradient descent", "choose the rule SAM"),
        ({}, "phase II", "λ₁ falls"),
        ({"rayleigh": 0.3}, "phase I:", "alignment rises"),
        ({"closing": True}, "phase II", "λ₁ has met λ₂"),
        ({"batch_size": 1}, "phase II", "the trace falls"),
        ({"batch_size": 7}, "phase II", "Example 5.8"),
        ({"rule": "usam"}, "at rest", "Dai et al."),
        ({"rule": "asam", "rayleigh": 0.3}, "phase II", "Kwon et al."),
        ({"rule": "ascent"}, "phase II", "λ_M"),
        ({"rule": "ascent", "batch_size": 1}, "phase II", "Theorem 5.3"),
        ({"rule": "worst"}, "phase II", "small λ₁"),
        ({"rule": "worst", "rayleigh": 0.3}, "phase I:", "small λ₁"),
        ({"rule": "worst", "batch_size": 7}, "phase II", "Example 5.8"),
        ({"rule": "worst", "closing": True}, "phase II", "λ₁ has met λ₂"),
        ({"rule": "average", "rayleigh": 0.3, "closing": True}, "phase II", "small trace"),
        ({"rule": "random", "batch_size": 7}, "phase II", "the trace falls"),
        ({"rule": "label_noise"}, "phase II", "the trace fall"),
        ({"rule": "label_noise", "rho": 0.0}, "gradient descent", "raise ρ"),
        ({"rule": "worst", "rho": 0.0, "lr": 0.2}, "at the edge of stability", "Raise ρ"),
        ({"rule": "normalized_gd"}, "phase II", "Arora et al."),
        ({"rule": "normalized_gd", "rho": 0.0, "lr": 0.5}, "phase II", "O(η²)"),
        ({"rule": "normalized_gd", "batch_size": 1}, "phase II", "full batch"),
    ],
)
def test_the_words_say_what_is_happening(change: dict[str, Any], words_of_phase: str, words_of_look: str) -> None:
    aligned = {"rule": "sam", "rho": 0.01, "lr": 0.05, "batch_size": 20, "eigenvalues": np.array([10.0, 5.0, 1.0])}
    row = aligned | {"cos_v1": 1.0, "rayleigh": 1.0, "closing": False} | change
    assert words_of_phase in words.phase(row, 20, falling=False)
    assert words_of_look in words.look(row, 20)
    now = {"speed": 0.0, "place": "CPU", "playing": False, "stopped": False, "falling": False}
    assert words_of_phase in words.status(row, 20, step=1, **now)
    assert words.status(row, 20, step=0, **now).startswith("step 0 · paused · CPU · at the start. ")


def test_label_noise_is_offered_where_the_loss_is_a_square() -> None:
    assert [name for name, _ in Lab(SINE, device="cpu").view.rules] == list(RULES)
    lab = Lab(quadratic([3.0, 1.0]), rho=0.1, device="cpu")
    assert [name for name, _ in lab.view.rules] == [name for name in RULES if name != "label_noise"]
    lab.view.rule = "label_noise"
    assert "needs a square loss; quadratic has none" in lab.view.alert
    assert lab.session.run.settings.rule == "sam"


@pytest.mark.parametrize("rule", RULES)
def test_the_lab_runs_and_draws_every_rule(rule: str) -> None:
    lab = Lab(valley(), rule=rule, rho=0.05, lr=0.005, device="cpu").run(40)
    assert not lab.view.alert
    assert len(figure(lab.session.figure(False)).data) > 12
    edge = next(t for t in lab.session.figure(False)["data"] if t.get("name") == "SAM's edge")["y"]
    assert np.isfinite(edge).all() == (rule == "sam")


def test_a_registered_rule_is_shown_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "mine", lambda *arguments: RULES["gd"](*arguments))
    assert ["mine", "mine"] in Lab(valley(), device="cpu").view.rules
    for rho in (0.0, 0.05):
        lab = Lab(valley(), rule="mine", rho=rho, lr=0.005, device="cpu").run(40)
        assert not lab.view.alert
        assert "'mine'" in lab.view.status
        assert not re.search("gradient descent|Theorem", lab.view.status)  # nothing is known of such a rule
    assert "mine on valley" in run_page(lab.session, 2)


def test_normalized_descent_is_not_told_that_its_steps_grow() -> None:
    lab = Lab(quadratic([3.0, 1.0]), rule="normalized_gd", lr=1e5, device="cpu").run(100)
    assert "diverged at step" in lab.view.alert
    assert "> 2" not in lab.view.alert


def test_the_step_axis_holds_the_ghost_and_the_edge_is_for_the_full_batch() -> None:
    lab = Lab(SINE, rho=0.01, device="cpu").run(300)
    press(lab, "reset")
    assert lab.session.figure(True)["layout"]["xaxis"]["range"][1] > 300
    assert lab.session.figure(False)["layout"]["xaxis"]["range"][1] < 300
    lab.run(60)
    lab.view.batch_size = 1
    lab.run(60)
    edge = next(t for t in lab.session.figure(False)["data"] if t["name"] == "SAM's edge")["y"]
    assert np.isfinite(edge[0])
    assert np.isnan(edge[-1])


def test_a_long_record_is_thinned_and_keeps_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samviz.lab.session.ROWS", 8)
    lab = Lab(quadratic([3.0, 1.0]), rho=0.05, device="cpu", steps_per_frame=10).run(300)
    assert len(lab.history) <= 8
    assert lab.history["step"][-1] == 300
    assert (np.diff(lab.history["step"]) > 0).all()


def estimates(lab: Lab) -> np.ndarray:
    trace = next(t for t in lab.session.figure(False)["data"] if t.get("name") == "uᵀHu, estimate")
    return np.stack((trace["x"], trace["y"]), 1)


def test_the_free_estimate_is_shown_where_sam_has_one() -> None:
    """In phase II the gradient lies along v₁, and what its two gradients tell is λ₁ up to O(ρ)."""
    lab = Lab(SINE, device="cpu").run(100)
    assert len(estimates(lab)) == 0  # ρ = 0: two gradients of one point
    lab.view.rho = 0.005
    lab.run(300)
    step, curvature = estimates(lab).T
    assert step.min() > 100
    assert step.max() == 400
    assert curvature[-1] == pytest.approx(lab.history["eigenvalues"][-1, 0], rel=0.02)
    lab.view.rule = "gd"
    lab.run(100)
    assert estimates(lab)[:, 0].max() == 400
    press(lab, "reset")
    assert len(estimates(lab)) == 0


def test_estimates_are_thinned_and_keep_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samviz.lab.session.ROWS", 8)
    lab = Lab(quadratic([3.0, 1.0]), rho=0.05, device="cpu", steps_per_frame=10).run(300)
    assert 2 <= len(lab.session.estimates) <= 8
    assert estimates(lab)[-1, 0] == 300


@pytest.mark.parametrize("tick", [0.0156, 1e9], ids=["as on Windows", "standing still"])
def test_a_coarse_clock_does_not_stop_the_run(monkeypatch: pytest.MonkeyPatch, tick: float) -> None:
    """Whatever is shorter than a tick takes no time by such a clock."""
    for module in ("session", "scene"):
        monkeypatch.setattr(f"samviz.lab.{module}.perf_counter", lambda: time.perf_counter() // tick * tick)
    session = Lab(quadratic([3.0, 1.0]), rho=0.05, device="cpu").session
    for _ in range(50):
        list(session.frame(10, live=True))
    assert session.run.steps == 500
    assert np.isfinite(session.clock())
    assert session.figure(False)


@pytest.mark.parametrize(("cost", "frames_between"), [(0.5, 1), (1.0, 1), (5.0, 5)])
def test_a_dear_measurement_takes_half_of_the_time_at_most(
    monkeypatch: pytest.MonkeyPatch, cost: float, frames_between: int
) -> None:
    """The clock is made of what is done: a frame of steps takes one second, a measurement `cost`."""
    now, measured = [0.0], []
    monkeypatch.setattr("samviz.lab.session.perf_counter", lambda: now[0])
    lab = Lab(quadratic([3.0, 1.0]), rho=0.05, device="cpu")
    session, run = lab.session, lab.session.run
    step, measure = run.step, run.measure

    def stepping(n: int = 1) -> None:
        step(n)
        now[0] += 1

    def measuring(**options: Any) -> Any:
        now[0] += cost
        measured.append(run.steps)
        return measure(**options)

    monkeypatch.setattr(run, "step", stepping)
    monkeypatch.setattr(run, "measure", measuring)

    def frames(count: int, **how: Any) -> None:
        for _ in range(count):
            session._step_cost = 1e-9  # a frame is one piece
            list(session.frame(10, **how))

    frames(60, live=True)
    assert len(measured) >= 10
    assert set(np.diff(measured)) == {10 * frames_between}
    assert session.estimates.rows[-1]["step"] == run.steps  # shown in between
    measured.clear()
    frames(5)  # for a script every frame is measured, whatever it costs
    assert len(measured) == 5


def test_a_device_without_float64_runs_in_single_precision() -> None:
    with NoFloat64():
        network = mlp([1, 4, 1])
        lab = Lab(network, x0=network.initial(), device="mps").run(3)
    assert "MPS float32" in lab.view.status
    assert lab.history.rows[-1]["step"] == 3
