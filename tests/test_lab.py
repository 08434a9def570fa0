"""The lab without a browser: its controls are set, its scheduler runs in asyncio, and its figure is read as data."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import kernel_loop
import numpy as np
import pytest
import torch
from kernel_loop import kernel_test, press

from samviz.dynamics import RULES, Rule, Run
from samviz.figures import figure
from samviz.lab import Lab
from samviz.lab.share import run_page
from samviz.lab.status import advice, phase
from samviz.problems import Problem, load, mlp, quadratic, valley

SINE = mlp([1, 24, 24, 1], data="sine")
BOWL = quadratic([3.0, 1.0])

until = partial(kernel_loop.until, seconds=20)


def sine_lab(**arguments: Any) -> Lab:
    return Lab(SINE, **{"rho": 0.01, "device": "cpu"} | arguments)


def bowl_lab(**arguments: Any) -> Lab:
    return Lab(BOWL, **{"rho": 0.05, "device": "cpu"} | arguments)


def trace(lab: Lab, name: str, compare: bool = False) -> dict[str, Any]:
    """The trace of the lab's figure with this name."""
    return next(trace for trace in lab.session.figure(compare)["data"] if trace.get("name") == name)


def estimates(lab: Lab) -> np.ndarray:
    """The steps and curvatures that are drawn, (points, 2)."""
    drawn = trace(lab, "uᵀHu, estimate")
    return np.stack((drawn["x"], drawn["y"]), 1)


async def at_rest(lab: Lab) -> None:
    """Wait until the scheduler's task has ended."""
    await until(lambda: lab.scheduler.task is not None and lab.scheduler.task.done())


# the run behind the panel


def test_the_lab_starts_at_a_minimum_and_raising_rho_aligns_the_gradient_with_v1() -> None:
    lab = sine_lab(rho=0.0)
    assert lab.history["loss"][0] < 1e-5
    assert (lab.values["rule"], lab.values["rho"], lab.values["batch_size"]) == ("sam", 0.0, 20)
    assert "CPU float64" in lab.sentence
    lab.run(50).set(rho=0.005)
    lab.run(200)
    assert lab.history["cos_v1"][:2].max() < 1e-3
    assert lab.history["cos_v1"][-1] > 0.99
    assert [(step, settings.rho) for step, settings in lab.session.run.changes] == [(0, 0.0), (50, 0.005)]
    assert trace(lab, "changes")["text"] == [" ρ 0 → 0.005"]


def test_what_a_script_records_is_repeatable_and_independent_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sine_lab(batch_size=3, seed=5).run(120)
    assert first.history["step"].tolist() == [0, 50, 100, 120]
    monkeypatch.setattr("samviz.lab.session.STEP_PIECE_S", 1e-9)  # as if steps were slow
    monkeypatch.setattr("samviz.lab.session.SLOW_MEASUREMENT_S", 0)  # and every measurement
    second = sine_lab(batch_size=3, seed=5).run(120)
    np.testing.assert_equal(second.history.rows, first.history.rows)
    assert second.session.estimates.rows == first.session.estimates.rows


def test_the_status_uses_the_latest_trace_that_was_measured() -> None:
    session = sine_lab(batch_size=3).run(50).session
    measured = session.now()["trace"]
    session.run.history.rows.append(session.run.history.rows[-1] | {"trace": np.nan})
    assert session.now()["trace"] == measured > 0


def test_every_control_reaches_the_run() -> None:
    lab = sine_lab()
    lab.set(rule="usam", lr=0.03, rho=0.0123, batch_size=7)
    settings = lab.session.run.settings
    assert (settings.rule, settings.lr, settings.rho, settings.batch_size) == ("usam", 0.03, 0.0123, 7)
    lab.set(steps_per_frame=10, seed=3)
    assert lab.run(25).history["step"].tolist() == [0, 10, 20, 25]
    assert "Seed 3 starts at Reset" in lab.view.sentence
    assert lab.session.run.seed == 0


@pytest.mark.parametrize("name", ["gradient descent", "SAM, small ρ (the theorem)", "SAM, large ρ (its edge)", "1-SAM"])
def test_a_preset_changes_the_settings_of_the_running_run(name: str) -> None:
    lab = sine_lab().run(10)
    run = lab.session.run
    lab.set(lr=0.02)
    press(lab, "preset", name)
    assert lab.session.run is run
    size = run.settings.batch_size or 20
    assert run.settings_row() == lab.presets[name] | {"micro_batch": size, "loss_name": ""}
    assert np.isfinite(lab.run(100).history["loss"]).all()


def test_reset_keeps_the_previous_run_as_a_ghost_and_takes_the_settings_and_the_seed_of_the_controls() -> None:
    lab = sine_lab().run(100)
    first, start = lab.history, lab.session.start
    lab.set(seed=1)
    press(lab, "reset")
    assert (lab.session.run.steps, lab.session.run.seed, lab.session.run.settings.rho) == (0, 1, 0.01)
    assert not torch.equal(lab.session.run.x[0], start)
    assert lab.session.ghost is first
    for compare, rows in ((False, 0), (True, 3)):
        lab.set(compare=compare)
        ghosts = [len(trace["x"]) for trace in lab.figure["data"] if trace["name"].startswith("last run")]
        assert ghosts == [rows] * 3
        assert (lab.figure["layout"]["xaxis"]["range"][1] > 100) == compare


def test_the_reason_of_a_divergence_depends_on_the_rule() -> None:
    """The steps of normalized gradient descent do not grow, whatever ηλ₁ is."""
    lab = Lab(BOWL, rule="normalized_gd", lr=1e5, device="cpu").run(100)
    assert "diverged at step" in lab.view.alert
    assert "> 2" not in lab.view.alert


def test_outside_a_kernel_nothing_plays_and_a_hessian_plane_that_cannot_be_sliced_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is no other plane to try instead."""
    lab = bowl_lab()
    with pytest.raises(RuntimeError, match=r"lab\.run\(n\)"):
        lab.play()
    monkeypatch.setattr("samviz.lab.session.hessian_plane", lambda *args, **more: int("no plane"))
    with pytest.raises(ValueError, match="no plane"):
        lab.recenter()


def test_values_beyond_the_limits_of_a_slider_are_kept_where_the_lab_starts_with_them() -> None:
    lab = Lab(quadratic([1e-4, 1e-5]), rho=200.0, device="cpu")
    assert lab.values["lr"] == lab.session.run.settings.lr > 100
    assert lab.values["rho"] == 200.0
    press(lab, "preset", "SAM, large ρ (its edge)")
    assert lab.session.run.settings.lr == lab.presets["SAM, large ρ (its edge)"]["lr"]


def test_a_long_record_is_thinned_and_keeps_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samviz.lab.session.MAX_ROWS", 8)
    lab = bowl_lab(steps_per_frame=10).run(300)
    assert 2 <= len(lab.history) <= 8
    assert 2 <= len(lab.session.estimates) <= 8
    assert lab.history["step"][-1] == estimates(lab)[-1, 0] == 300
    assert (np.diff(lab.history["step"]) > 0).all()


# the figure


def test_another_plane_is_sliced_and_one_without_a_trajectory_is_refused_in_words() -> None:
    lab = sine_lab()
    lab.set(plane="pca")
    assert "take more steps first" in lab.view.alert
    assert lab.values["plane"] == "hessian"
    lab.run(300)
    for kind in ("pca", "random", "hessian"):
        lab.set(plane=kind)
        assert lab.session.landscape.plane.kind == kind
        assert np.isfinite(trace(lab, "latest steps")["x"]).all()
    before = lab.session.landscape
    press(lab, "recenter")
    assert lab.session.landscape is not before


def test_a_slice_that_other_work_replaces_is_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samviz.problems.Problem.at_once", 400)  # a slice of several pieces
    session = sine_lab().session
    session.choose_plane("random")
    next(session.look())
    assert session.landscape.plane.kind == "hessian"
    assert [*session.look()]
    assert session.landscape.plane.kind == "random"
    assert not [*session.look()]


def test_an_outdated_slice_waits_until_no_control_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """By this clock nothing takes time, and the trail leaves the picture."""
    now = [0.0]
    monkeypatch.setattr("samviz.lab.session.perf_counter", lambda: now[0])
    monkeypatch.setattr("samviz.lab.lab.perf_counter", lambda: now[0])
    lab = sine_lab()
    session, before = lab.session, lab.session.landscape
    [*session.advance(100)]
    now[0] = 10.0
    lab.set(rho=1.0)
    [*session.advance(5)]
    for now[0], is_sliced in ((10.4, False), (10.6, True)):
        [*session.slice()]
        assert (session.landscape is not before) == is_sliced


def test_the_heights_are_the_same_array_for_the_same_slice() -> None:
    """An array that is shown again is not sent to the browser again."""
    session = bowl_lab().session
    first, second = (next(t for t in session.figure(False)["data"] if t["type"] == "contour")["z"] for _ in range(2))
    assert first is second


def labs_of_every_kind() -> dict[str, Lab]:
    inputs, labels = load("digits")
    return {
        "curve": sine_lab(),
        "regions": Lab(mlp([2, 8, 1], data="spirals"), rho=0.01, device="cpu"),
        "two outputs": Lab(mlp([2, 8, 2], data="spirals", loss="cross_entropy"), rho=0.01, device="cpu"),
        "classes": Lab(mlp([64, 4, 10], data=(inputs[:60], labels[:60]), loss="cross_entropy"), rho=0.01, device="cpu"),
        "residuals": Lab(mlp([2, 3, 1], data=(np.eye(2), np.array([1.0, 2.0]))), rho=0.01, device="cpu"),
        "coordinates": Lab(quadratic([3.0, 2.0, 1.0]), rho=0.01, device="cpu"),
        "valley": Lab(valley(), rho=0.1, device="cpu"),
        "single precision": Lab(BOWL, rho=0.0, device="cpu", dtype=torch.float32),
    }


def test_plotly_accepts_the_figure_of_every_problem() -> None:
    for kind, lab in labs_of_every_kind().items():
        drawn = figure(lab.run(30).figure)  # plotly checks every attribute
        assert len(drawn.data) > 12, kind
        assert not lab.view.alert, kind


def survives_everything(lab: Lab, folder: Path) -> None:
    """A lab is shared, exported, reset, diverges, and is reset again."""
    x = lab.session.run.x
    assert torch.equal(Lab.from_share(lab.share()).session.run.x, x)
    assert lab.export(folder / "run.html", frames=5).stat().st_size > 1e5
    press(lab, "reset")
    lab.run(20).set(lr=5.0)
    rows = len(lab.history)
    assert re.search("diverged at step.* > 2.*press Reset", lab.run(5000).view.alert)
    assert lab.sentence.startswith("Diverged.")
    assert not lab.view.playing
    assert len(lab.history) >= rows
    assert bool(lab.session.run.x.isfinite().all())
    figure(lab.figure)
    lab.set(lr=0.3)
    press(lab, "reset")
    assert lab.view.alert == ""
    assert lab.run(60).session.run.steps == 60


@pytest.mark.parametrize("problem", [quadratic([2.0]), quadratic([[[1.0]], [[3.0]]])], ids=["x²", "mean of two"])
def test_one_parameter_is_drawn_as_the_curve_of_its_loss(problem: Problem, tmp_path: Path) -> None:
    """In both problems L = x²."""
    lab = Lab(problem, rho=0.05, lr=0.3, device="cpu").run(40)
    assert dict(lab.controls["plane"].options) == {"hessian": "the one parameter"}  # type: ignore[union-attr]
    curve, trail, here = (trace(lab, name) for name in ("loss along x", "latest steps", "iterate"))
    x = float(lab.session.run.x)
    np.testing.assert_allclose(curve["y"], curve["x"] ** 2, rtol=1e-12)
    np.testing.assert_allclose(trail["y"], trail["x"] ** 2, rtol=1e-12)
    assert (here["x"][0], here["y"][0]) == pytest.approx((x, x * x))
    assert curve["x"].min() < trail["x"][-10:].min() < trail["x"][-10:].max() < curve["x"].max()
    survives_everything(lab, tmp_path)


def test_the_edge_of_stability_has_no_spike_when_a_setting_changes() -> None:
    lab = sine_lab(rho=0.0, lr=0.05, steps_per_frame=1).run(20)
    for change in ({"rho": 0.005}, {"rho": 0.02}, {"lr": 0.1}, {"rho": 0.005}, {"lr": 0.02}, {"rho": 0.0}):
        lab.set(**change)
        lab.run(40)
    edge, largest = (trace(lab, name)["y"] for name in ("SAM's edge", "λ₁"))
    drawn = np.isfinite(edge)
    assert drawn.mean() > 0.5
    np.testing.assert_allclose(edge[drawn], largest[drawn], rtol=0.05)


def test_the_layout_holds_no_arrays() -> None:
    """An array counts as changed in each frame, and then plotly would draw the entire figure again."""
    json.dumps(sine_lab().run(100).figure["layout"])


def test_the_free_estimate_is_drawn_while_sam_has_one() -> None:
    """In phase II the gradient lies along v₁, and the curvature from its two gradients is λ₁ up to O(ρ)."""
    lab = sine_lab(rho=0.0).run(100)
    assert len(estimates(lab)) == 0  # ρ = 0: both gradients are taken at one point
    lab.set(rho=0.005)
    step, curvature = estimates(lab.run(300)).T
    assert (step.min() > 100, step.max()) == (True, 400)
    assert curvature[-1] == pytest.approx(lab.history["eigenvalues"][-1, 0], rel=0.02)
    lab.set(rule="gd")
    assert estimates(lab.run(100))[:, 0].max() == 400
    press(lab, "reset")
    assert len(estimates(lab)) == 0


# rules and the status


@pytest.mark.parametrize(
    ("change", "name", "watch"),
    [
        ({"rho": 0.0}, "Gradient descent", "Raise ρ"),
        ({"rho": 0.0, "lr": 0.2}, "at the edge of stability", "Raise ρ"),
        ({"rho": 0.0, "lr": 0.5}, "beyond the edge of stability", "Raise ρ"),
        ({"rule": "gd"}, "Gradient descent", "choose the rule SAM"),
        ({}, "Phase II", "Theorem 4.5)"),
        ({"rayleigh": 0.3}, "The gradient is not aligned", "alignment rises"),
        ({"rayleigh": 0.3, "rho": 0.1}, "The gradient is not aligned", "Theorem 4.5 assumes a small ρ/η"),
        ({"loss": 0.2}, "The fit is lost", "untrained network"),
        ({"loss": 0.01}, "Above the valley floor", "Lower ρ"),
        ({"loss": 0.01, "falling": True, "rayleigh": 0.3}, "Phase I:", "alignment rises"),
        ({"loss": 0.05, "falling": True, "rho": 0.06}, "Phase I:", "There the drift begins"),
        ({"loss": 0.01, "falling": True, "batch_size": 1}, "Phase I:", "Near the floor"),
        ({"loss": 0.2, "lowest_loss": 0.2}, "Phase II", "Theorem 4.5"),  # a network that cannot fit its data
        ({"lr": 0.5}, "Beyond the edge of stability", "Lower η"),
        ({"rho": 0.0, "batch_size": 1}, "Stochastic gradient descent", "watch the trace"),
        ({"closing": True}, "Phase II", "λ₁ has met λ₂"),
        ({"batch_size": 1}, "Phase II", "the trace falls"),
        ({"batch_size": 7}, "Phase II", "Example 5.8"),
        ({"rule": "usam", "loss": 9e-6}, "At rest", "Dai et al."),
        ({"rule": "ascent"}, "Phase II", "λ_M"),
        ({"rule": "ascent", "batch_size": 1}, "Phase II", "Theorem 5.3"),
        ({"rule": "worst", "rayleigh": 0.3, "falling": True}, "Phase I:", "small λ₁"),
        ({"rule": "label_noise", "rho": 0.0}, "Gradient descent", "raise ρ"),
        ({"rule": "normalized_gd"}, "Phase II", "Arora et al."),
        ({"rule": "normalized_gd", "rho": 0.0, "lr": 0.5}, "Phase II", "O(η²)"),
        ({"rule": "normalized_gd", "batch_size": 1}, "Phase II", "full batch"),
        ({"rho": 0.0, "lr": 0.5, "momentum": 0.9}, "beyond the edge of stability, λ₁ > (2 + 2β)/η", "Raise ρ"),
        ({"rho": 0.0, "lr": 0.2, "momentum": 0.9}, "Gradient descent", "Raise ρ"),
        ({"rho": 0.0, "lr": 0.2, "weight_decay": 2.0}, "beyond the edge of stability, λ₁ > 2/η", "Raise ρ"),
        ({"momentum": 0.5}, "Phase II", "1/(1 − β)"),
        ({"micro_batch": 1}, "Phase II", "its own perturbation"),
    ],
)
def test_the_status_says_which_phase_it_is_and_what_to_watch(change: dict[str, Any], name: str, watch: str) -> None:
    aligned = {"rule": "sam", "rho": 0.01, "lr": 0.05, "batch_size": 20, "eigenvalues": np.array([10.0, 5.0, 1.0])}
    row = aligned | {"trace": 17.0, "cos_v1": 1.0, "rayleigh": 1.0, "closing": False, "falling": False}
    row |= {"loss": 1e-4, "lowest_loss": 1e-6, "untrained_loss": 0.3}
    row |= {"momentum": 0.0, "weight_decay": 0.0, "micro_batch": 20} | change
    assert name in phase(row, 20)
    assert watch in advice(row, 20)
    assert len(phase(row, 20) + advice(row, 20)) < 145  # two lines


@pytest.mark.parametrize("rule", RULES)
def test_the_lab_runs_and_draws_every_rule(rule: str) -> None:
    lab = Lab(valley(), rule=rule, rho=0.05, lr=0.005, device="cpu").run(100)
    assert not lab.view.alert
    assert len(figure(lab.figure).data) > 12
    assert np.isfinite(trace(lab, "SAM's edge")["y"]).any() == (rule == "sam")


def test_a_registered_rule_is_shown_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "mine", Rule("mine", lambda p, x, g, rho: g, "mine"))
    for rho in (0.0, 0.05):
        lab = Lab(valley(), rule="mine", rho=rho, lr=0.005, device="cpu").run(40)
        assert lab.controls["rule"].options["mine"] == "mine"  # type: ignore[union-attr]
        assert not lab.view.alert
        assert "'mine'" in lab.sentence
        assert not re.search("gradient descent|Theorem", lab.sentence)  # nothing is known of such a rule
    assert "mine on valley" in run_page(lab.session, 2)


# in a kernel


@kernel_test
async def test_play_pause_step_and_reset_on_a_loop() -> None:
    lab = sine_lab()
    press(lab, "play")
    await until(lambda: lab.session.run.steps >= 50)
    assert lab.view.playing
    press(lab, "pause")
    await at_rest(lab)
    steps = lab.session.run.steps
    assert lab.history["step"][-1] == steps  # the picture shows the present iterate
    assert f"step {steps:,} · paused" in lab.view.sentence
    press(lab, "step")
    await until(lambda: lab.session.run.steps == steps + 1)
    assert not lab.view.playing
    lab.play()
    assert lab.session.speed == 0  # and not the steps over the time of the pause
    old = lab.session.run
    await until(lambda: old.steps >= steps + 50)
    press(lab, "reset")
    await until(lambda: lab.session.run is not old)
    steps = old.steps
    await asyncio.sleep(0.1)
    assert (old.steps, lab.session.run.steps) == (steps, 0)  # no work on the previous run continues
    lab.set(lr=5.0)
    lab.play()
    await until(lambda: "diverged at step" in lab.view.alert and lab.scheduler.idle)
    lab.play()
    assert not lab.view.playing


@kernel_test
async def test_the_first_picture_does_not_wait_until_the_steps_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, compiled = threading.Event(), threading.Event()
    monkeypatch.setattr(Run, "prepare", lambda run: drawn.wait(10) and compiled.set())
    assert bowl_lab().figure["data"]
    drawn.set()
    await until(compiled.is_set)


Effect = tuple[Callable[[Lab], object], Callable[[Lab], object]]
ACTIONS: dict[str, Effect] = {  # what happens while a Reset is in progress, and its effect
    "slider": (lambda lab: lab.set(rho=0.02), lambda lab: lab.session.run.settings.rho == 0.02),
    "plane": (lambda lab: lab.set(plane="random"), lambda lab: lab.session.landscape.plane.kind == "random"),
    "ghost": (lambda lab: lab.set(compare=True), lambda lab: not lab.view.playing),
    "step": (lambda lab: press(lab, "step"), lambda lab: lab.session.run.steps == 1),
    "recenter": (
        lambda lab: press(lab, "recenter"),
        lambda lab: lab.session._slices_done == lab.session._slices_wanted,
    ),
    "pause": (lambda lab: press(lab, "pause"), lambda lab: not lab.view.playing),
    "reset": (lambda lab: press(lab, "reset"), lambda lab: lab.session.run.steps == 0),
    "play": (lambda lab: press(lab, "play"), lambda lab: lab.view.playing),
    "share": (lambda lab: press(lab, "share"), lambda lab: lab.view.shared),
}


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("seed", [0, 1], ids=["same start", "another start"])
@kernel_test
async def test_a_reset_is_completed_whatever_is_pressed_at_whichever_moment(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pieces of work are done one at a time, with a picture after each, and the action after the k-th."""
    monkeypatch.setattr("samviz.problems.Problem.at_once", 400)  # a slice of five pieces
    monkeypatch.setenv("SAMVIZ_STATIC", "0")

    act, effect = ACTIONS[name]
    lab = Lab(quadratic([3.0, 2.0, 1.0]), rho=0.01, lr=0.05, device="cpu")
    scheduler = lab.scheduler
    scheduler.wake = lambda: None  # type: ignore[method-assign]

    async def advance() -> bool:
        await asyncio.sleep(0)  # what was posted
        scheduler.drawn_at, scheduler.due = -np.inf, True
        return scheduler._advance() and bool(scheduler.required or scheduler.work)

    moment, completed = 0, False
    while not completed:
        lab.set(rho=0.01, plane="hessian", compare=False, seed=0)
        lab.play()
        for _ in range(3):
            await advance()
        old = lab.session.run
        lab.set(seed=seed)
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


@kernel_test
async def test_an_exception_in_the_loop_is_shown_and_the_lab_can_be_reset() -> None:
    lab = sine_lab()

    def broken(n: int = 1) -> None:
        raise ZeroDivisionError("on purpose")

    lab.session.run.step = broken  # type: ignore[method-assign]
    lab.play()
    await until(lambda: bool(lab.view.alert))
    assert "ZeroDivisionError: on purpose" in lab.view.alert
    assert not lab.view.playing
    lab.reset()
    await at_rest(lab)
    assert lab.view.alert == ""
    lab.play()
    await until(lambda: lab.session.run.steps >= 50)
    lab.pause()


@pytest.fixture
def ignored() -> Iterator[None]:
    """Ignore SIGINT, as a kernel does between cells."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself SIGINT there")
@pytest.mark.usefixtures("ignored")
@kernel_test
async def test_an_interrupt_pauses_playing_labs() -> None:
    labs = [bowl_lab() for _ in range(2)]
    for lab in labs:
        lab.play()
    await until(lambda: all(lab.session.run.steps >= 50 and "paused" not in lab.view.sentence for lab in labs))
    os.kill(os.getpid(), signal.SIGINT)
    for lab in labs:
        await at_rest(lab)
        assert lab.view.alert == "Interrupted; press Play to continue."
        assert not lab.view.playing
        assert "paused" in lab.view.sentence
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    steps = labs[0].session.run.steps
    labs[0].play()
    await until(lambda: labs[0].session.run.steps >= steps + 50)
    labs[0].pause()
    await at_rest(labs[0])
    assert labs[0].view.alert == ""


# without a front end


def test_without_a_front_end_it_takes_a_short_run_and_leaves_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMVIZ_STATIC", "1")
    outputs: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda shown, **_: outputs.append(shown))
    monkeypatch.setattr("samviz.lab.panel.static_picture", lambda plain, alt: (len(plain["data"]), alt))
    lab = sine_lab(rho=0.0)
    lab._ipython_display_()
    assert lab.session.run.steps == 1000
    assert lab.history["eigenvalues"][-1, 0] < 0.85 * lab.history["eigenvalues"][0, 0]  # λ₁ visibly decreases
    assert lab.history["cos_v1"][-1] > 0.99
    assert outputs[0] is lab.view
    assert outputs[1][0] > 12
    assert "step 1,000" in outputs[1][1]
    monkeypatch.setenv("SAMVIZ_STATIC", "0")
    lab._ipython_display_()
    assert len(outputs) == 3  # with a front end only the widget


def test_without_kaleido_the_picture_is_a_plotly_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import plotly.graph_objects as go
    import plotly.io

    def missing(*args: Any, **more: Any) -> bytes:
        raise ValueError("kaleido is not there")

    monkeypatch.setattr(plotly.io, "to_image", missing)
    assert isinstance(bowl_lab().static(), go.Figure)
    assert "pip install kaleido" in capsys.readouterr().out


def test_in_three_dimensions_the_iterates_lie_on_the_surface_of_the_loss() -> None:
    """Without a second direction there is no such switch."""
    bowl = quadratic([2.0, 1.0])
    lab = Lab(bowl, x0=[1.0, 1.0], lr=0.1, rho=0.1, device="cpu").run(20)
    lab.set(surface=True)
    surface, path = (next(t for t in lab.figure["data"] if t["name"] == name) for name in ("L", "latest steps"))
    loss = bowl.loss(torch.cat(tuple(lab.session.run.trail))).numpy()
    np.testing.assert_allclose(path["z"], loss, atol=0.03 * np.ptp(surface["z"]))  # it is drawn slightly above
    assert figure(lab.figure).layout.scene.zaxis.range[0] == surface["z"].min()
    assert "surface" not in Lab(quadratic([1.0]), lr=0.1, device="cpu").controls


# the clock


def test_a_clock_that_stands_still_does_not_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is shorter than a tick takes no time by a coarse clock."""
    monkeypatch.setattr("samviz.lab.session.perf_counter", lambda: 0.0)
    session = bowl_lab().session
    for _ in range(50):
        list(session.frame(10, live=True))
    assert session.run.steps == 500
    assert np.isfinite(session.update_speed())
    assert session.figure(False)


@pytest.mark.parametrize(("cost", "frames_between"), [(0.5, 1), (1.0, 1), (5.0, 5)])
def test_a_slow_measurement_takes_at_most_half_of_the_time(
    monkeypatch: pytest.MonkeyPatch, cost: float, frames_between: int
) -> None:
    """By this clock a frame of steps takes one second, and a measurement `cost`."""
    now, measured = [0.0], []
    monkeypatch.setattr("samviz.lab.session.perf_counter", lambda: now[0])
    session = bowl_lab().session
    run = session.run
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
    for _ in range(60):
        session._step_cost = 1e-9  # a frame is one piece
        list(session.frame(10, live=True))
    assert len(measured) >= 10
    assert set(np.diff(measured)) == {10 * frames_between}
    assert session.estimates.rows[-1]["step"] == run.steps  # drawn in between


def test_another_device_is_chosen_where_there_is_one_and_resets_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """The devices cpu and cpu:0, which are the same, stand in for a CPU and a GPU."""
    assert ("device" in bowl_lab().controls) == torch.cuda.is_available()
    monkeypatch.setattr("samviz.lab.lab.devices", lambda: ("cpu", "cpu:0"))
    lab = bowl_lab(x0=[1.0, 1.0], lr=0.1).run(100)
    x = lab.session.run.x.clone()
    assert list(lab.controls["device"].options) == ["cpu", "cpu:0"]
    lab.set(device="cpu:0")
    assert lab.session.run.steps == 0
    assert lab.session.ghost is not None
    assert str(lab.problem.device) == str(lab.session.run.problem.device) == "cpu:0"
    assert torch.equal(lab.run(100).session.run.x, x)
    assert str(Lab.from_share(lab.share()).problem.device) == "cpu"
