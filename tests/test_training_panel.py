"""The live panel of a probe without a browser: training, stopping, steering, and the figure of the record."""

from __future__ import annotations

import threading
import time
from unittest import mock

import numpy as np
import pytest
import torch
from formula import history_of
from kernel_loop import in_kernel
from pictures import names, trace

from samviz.figures import figure
from samviz.figures.history import probe_figure
from samviz.optim import SAM
from samviz.probe import Probe

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-1.0], [0.5], [0.0]])


class Training:
    """A linear model, its optimizer and its probe, and a loop of `length` steps."""

    def __init__(self, build_optimizer=lambda model: SAM(model.parameters(), torch.optim.SGD, lr=0.05, rho=0.01)):
        torch.manual_seed(0)
        self.model, self.loss_of = torch.nn.Linear(4, 1), torch.nn.MSELoss()
        self.optimizer = build_optimizer(self.model)
        self.probe = Probe(self.model, self.loss_of, (X, Y), every=5, k=2, budget=None)
        self.length = 10**9
        self.pause = 0.0

    def closure(self):
        loss = self.loss_of(self.model(X), Y)
        loss.backward()
        return loss

    def __call__(self):
        while self.probe.steps < self.length:
            self.optimizer.zero_grad()
            loss = self.optimizer.step(self.closure)
            time.sleep(self.pause)
            self.probe.step(batch_loss=loss)

    def panel(self):
        return self.probe.lab(self, self.optimizer)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def wait_for_end(panel):
    """Wait for the end of the training, and for its last picture."""
    panel._thread.join(20)
    assert not panel.training


def change_marks(panel):
    return [text.strip() for t in panel.figure["data"] if t["name"] == "changes" for text in t["text"]]


@pytest.fixture(autouse=True)
def interactive(monkeypatch):
    monkeypatch.setenv("SAMVIZ_STATIC", "0")


@pytest.fixture
def training():
    training = Training()
    yield training
    training.length = 0  # ends what a test has left running


def test_the_figure_is_empty_before_the_first_step_and_start_trains_in_the_background_until_the_end(training):
    panel = training.probe.lab(training, training.optimizer)
    figure(panel.figure)
    assert [note["text"] for note in panel.figure["layout"]["annotations"]].count("not measured") == 4
    assert panel.sentence == "Press Start · step 0"
    assert list(panel.values) == ["start", "stop", "lr", "rho"]
    assert (panel.values["lr"], panel.values["rho"]) == (0.05, 0.01)
    training.length = 50
    panel = training.panel()
    panel.set(start=1)
    wait_for_end(panel)
    top = training.probe.history["eigenvalues"][-1, 0]
    assert panel.sentence.startswith("Finished · step 50 · loss ")
    assert f"at step 50 λ₁ = {top:.3g} with a residual of" in panel.sentence
    assert f"ηλ₁ = {0.05 * top:.2f}" in panel.sentence
    figure(panel.figure)
    np.testing.assert_array_equal(trace(panel.figure, "λ₁")["y"], training.probe.history["eigenvalues"][:, 0])
    np.testing.assert_allclose(trace(panel.figure, "2/η")["y"], 40.0)
    np.testing.assert_array_equal(trace(panel.figure, "batch loss")["x"], np.arange(5, 51, 5))
    assert panel.error is None


def test_stop_ends_it_at_the_next_step_and_start_continues(training):
    panel = training.panel()
    panel.start()
    assert panel._thread is not threading.current_thread()
    assert training.panel() is panel  # while the training runs there is one panel
    wait_for(lambda: training.probe.steps > 20)
    panel.set(stop=1)
    wait_for_end(panel)
    stopped, rows = training.probe.steps, len(training.probe.history)
    assert panel.sentence.startswith(f"Stopped · step {stopped:,}")
    assert (panel.error, panel.view.alert) == (None, "")
    panel.set(start=1)
    wait_for(lambda: len(training.probe.history) > rows + 2)
    panel.stop()
    wait_for_end(panel)
    assert training.probe.steps > stopped
    assert training.panel() is not panel


def test_an_error_is_shown_with_its_step_and_the_record_is_kept(training):
    def train():
        training()
        if training.probe.steps == 23:
            raise RuntimeError("the data ran out")

    training.length = 23
    panel = training.probe.lab(train, training.optimizer)
    panel.start()
    wait_for_end(panel)
    assert panel.view.alert.startswith("RuntimeError at step 23, in train, line ")
    assert 'raise RuntimeError("the data ran out")\nthe data ran out' in panel.view.alert
    assert isinstance(panel.error, RuntimeError)
    assert panel.sentence.startswith("Failed · step 23")
    assert len(training.probe.history) == 4
    panel.set(rho=0.02)
    assert "the data ran out" in panel.view.alert  # until the training is started again
    training.length = 25
    panel.start()
    wait_for_end(panel)
    assert panel.view.alert == ""
    panel.train = mock.Mock(side_effect=KeyboardInterrupt)  # not by Stop
    panel.start()
    wait_for_end(panel)
    assert isinstance(panel.error, KeyboardInterrupt)


def test_sliders_steer_the_running_optimizer_and_changes_are_marked(training):
    panel = training.panel()
    panel.set(rho=0.2)
    panel.set(rho=0.01)
    assert change_marks(panel) == []  # a setting before the first step is no change
    panel.start()
    wait_for(lambda: training.probe.steps > 10)
    panel.set(rho=0.1)
    wait_for(lambda: training.probe.steps > 30)
    for lr in (0.02, 0.01):  # a drag
        panel.set(lr=lr)
    panel.stop()
    wait_for_end(panel)
    training.length = training.probe.steps + 10
    panel.start()
    wait_for_end(panel)
    group = training.optimizer.param_groups[0]
    assert (group["rho"], group["lr"]) == (0.1, 0.01)
    assert change_marks(panel) == ["ρ 0.01 → 0.1", "η 0.05 → 0.01"]
    edge = trace(panel.figure, "2/η")["y"]
    assert (edge[0], edge[-1]) == (pytest.approx(40), pytest.approx(200))
    group["lr"] = 0.003  # by a scheduler
    panel.stop()
    assert panel.sentence.endswith("the training itself has set η to 0.003")


def test_parameter_groups_keep_their_ratios_and_only_a_radius_has_a_slider():
    def two_groups(model):
        return torch.optim.Adadelta([{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.02}])

    training = Training(two_groups)
    panel = training.panel()
    assert list(panel.values) == ["start", "stop", "lr"]  # the rho of Adadelta is no radius
    panel.set(lr=0.0)
    panel.set(lr=0.05)
    assert [group["lr"] for group in training.optimizer.param_groups] == pytest.approx([0.05, 0.01])


def test_without_a_training_it_only_shows_and_calls_the_users_callback_once(training):
    steps = []
    training.probe.on_step = lambda: steps.append(training.probe.steps)
    for _ in range(2):
        panel = training.probe.lab()
    assert panel.values == {}
    with pytest.raises(ValueError, match="there is no training to start"):
        panel.start()
    training.length = 10
    training()
    panel.stop()
    assert panel.sentence.startswith("Watching · step 10 · loss")
    assert len(trace(panel.figure, "λ₁")["x"]) == 2
    assert steps == list(range(1, 11))


def test_without_a_front_end_it_trains_when_shown_and_only_once(training, monkeypatch):
    monkeypatch.setenv("SAMVIZ_STATIC", "1")
    sentences = []
    monkeypatch.setattr(
        "samviz.probe.training_panel.Panel._ipython_display_", lambda panel: sentences.append(panel.sentence)
    )
    panel = training.panel()
    for training.length in (12, 20):
        panel._ipython_display_()
    assert training.probe.steps == 12
    assert sentences[-1].startswith("Finished · step 12 · loss")


def test_a_training_in_a_cell_is_drawn_while_the_kernel_is_busy(training):
    async def story():
        panel = training.probe.lab(None, training.optimizer)
        training.length, training.pause = 24, 0.05
        before = panel.view._seq
        training()  # the event loop does not run meanwhile
        assert panel.view._seq > before
        assert not panel.view.sentence.endswith("step 0")

    in_kernel(story)


def record(rows):
    pairs = {"eigenvalues": np.array([3.0, 1.0]), "residuals": np.array([0.1, 0.2])}
    return history_of(*({"loss": 1.0} | pairs | row for row in rows))


def test_the_figure_shows_residuals_errors_rows_without_a_number_logged_columns_and_the_time_taken():
    logged = {"test_loss": 2.0, "accuracy": 0.9, "weight_norm": 7.0, "note": "a", "lr": 0.01, "share": 0.0312}
    rows = [{"step": s, "converged": s < 2, "trace_error": 0.5} | logged for s in range(3)]
    rows = [row | {"trace": np.nan if row["step"] == 1 else 5.0} for row in rows]
    drawn = probe_figure(record(rows), budget=0.05)
    assert trace(drawn, "λ₁ open")["x"].tolist() == [2]  # it has not converged
    assert "λ₁ open" not in names(probe_figure(record(rows[:2])))
    np.testing.assert_allclose(trace(drawn, "λ₁ residual")["y"][:2], [2.9, 3.1])
    assert trace(drawn, "trace ± 2 s.e.")["y"].tolist() == [6.0, 6.0, 4.0, 4.0]
    assert trace(drawn, "trace")["x"].tolist() == [0, 2]  # a line across the row without a number
    assert (trace(drawn, "test loss")["yaxis"], trace(drawn, "accuracy")["yaxis"]) == ("y", "y7")  # similar numbers
    assert not {"weight norm", "note"} & names(drawn)
    assert "measuring took 3.1 % of the training time, budget 5 %" in drawn["layout"]["annotations"][0]["text"]
    labels = [text for t in drawn["data"] if t["name"] == "names" for text in t["text"]]
    assert any("2/η = 200 ↑" in text for text in labels)  # outside the axes


def test_without_a_budget_the_figure_says_nothing_of_the_cost_and_what_is_never_measured_has_no_axes():
    row = {"step": 1, "share": 1.53, "trace": 4.0, "trace_error": 0.1, "rayleigh": 1.0}
    drawn, with_sharpness = (probe_figure(record([row | more])) for more in ({}, {"worst": 0.1}))
    assert "measur" not in str(drawn["layout"]["annotations"])
    assert "xaxis5" not in drawn["layout"]
    assert "xaxis5" in with_sharpness["layout"]
    assert not {"xaxis6"} & {*drawn["layout"], *with_sharpness["layout"]}


@pytest.mark.parametrize("values", [[-4.0, -5.0, -6.0], [-1e-9, -2e-9, -3e-9], [-6.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
def test_an_axis_reaches_all_that_is_not_positive_and_zero(values):
    rows = [{"step": s, "trace": y, "trace_error": 0.1, "eigenvalues": [y, y - 1]} for s, y in enumerate(values)]
    drawn = probe_figure(record(rows))
    for axis, lowest in (("yaxis4", min(values)), ("yaxis2", min(values) - 1)):
        low, high = drawn["layout"][axis]["range"]
        assert low <= lowest <= 0 <= high
        assert 0 < high - low <= (-2 * lowest or 1)
    ends = [y for t in drawn["data"] if t["name"] == "names" for y in t["y"]]
    assert np.isfinite(ends).all()


def test_the_training_uses_the_threads_of_the_kernel():
    """Another thread that computes a small problem changes torch's default for new threads."""
    before, seen = torch.get_num_threads(), []
    training = Training()
    panel = training.probe.lab(lambda: seen.append(torch.get_num_threads()))
    torch.set_num_threads(3)
    other = threading.Thread(target=torch.set_num_threads, args=(1,))
    other.start()
    other.join()
    panel.start()
    wait_for(lambda: seen)
    torch.set_num_threads(before)
    assert seen == [3]
