"""The live panel of a probe in JupyterLab: a CNN on digits trains while other cells run, is steered and is stopped."""

from __future__ import annotations

import pytest

from .panels import curve, says, sentence, wait, without_errors

TRAINING = """
import torch
from sklearn.datasets import load_digits
from torch import nn

from samviz.optim import SAM
from samviz.probe import Probe

torch.set_num_threads(1)
torch.manual_seed(0)
digits = load_digits()
inputs = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
targets = torch.tensor(digits.target)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(64, 10),
)
loss_of = nn.CrossEntropyLoss()
optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1, rho=0.05)
probe = Probe(model, loss_of, (inputs[:500], targets[:500]), every=20, samples=100, budget=0.5)
broken = False


def train():
    while True:
        batch = torch.randint(500, (50,))

        def closure():
            loss = loss_of(model(inputs[batch]), targets[batch])
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        with torch.no_grad():
            right = probe.steps % 20 == 19 and (model(inputs[500:]).argmax(1) == targets[500:]).float().mean()
        probe.step(batch_loss=loss, test_accuracy=right)
        if broken:
            raise RuntimeError("the data ran out")


panel = probe.lab(train, optimizer)
"""
RHO = "optimizer.param_groups[0]['rho']"


@pytest.fixture(scope="module")
def notebook(keep_notebook):
    notebook = keep_notebook("watch.ipynb", [TRAINING, "panel", "answer = 0", "answer = 6 * 7"])
    notebook.run_all(240)
    says(notebook, "Press Start · step 0")
    return notebook


@pytest.fixture(autouse=True)
def no_page_errors(request, notebook):
    if "failure" in request.node.name:
        yield
    else:
        with without_errors(notebook):
            yield


def press(notebook, name):
    notebook.page.locator(".samviz-panel").get_by_role("button", name=name, exact=True).click()


def test_start_trains_in_the_background_and_the_curve_grows(notebook):
    """Takes long because it waits for nine measurements, which a budget spaces out."""
    press(notebook, "Start")
    says(notebook, "Training")
    wait(notebook, "document.querySelector('.samviz-graph').data.find(t => t.name === 'λ₁')?.x.length > 5")
    before = curve(notebook, "λ₁", "x")
    find = "document.querySelector('.samviz-graph').data.find(t => t.name === 'λ₁')"
    wait(notebook, f"{find}.x.length > {len(before) + 3}")
    after = curve(notebook, "λ₁", "x")
    assert after[: len(before)] == before
    assert min(curve(notebook, "λ₁")[5:]) > 0


def test_other_cells_can_be_run_meanwhile(notebook):
    assert notebook.kernel("panel.training")
    notebook.page.evaluate("""() => {
        const { content } = window.jupyterapp.shell.currentWidget;
        content.deselectAll();
        content.activeCellIndex = 3;
    }""")
    steps = notebook.kernel("probe.steps")
    notebook.command("notebook:run-cell")
    notebook.until("answer", lambda answer: answer == 42)
    notebook.until("probe.steps", lambda now: now > steps)
    assert notebook.kernel("panel.training")


def test_a_slider_steers_the_running_training_and_is_marked(notebook):
    slider = notebook.page.locator(".samviz-panel").get_by_role("slider", name="ρ radius", exact=True)
    slider.focus()
    for _ in range(14):
        notebook.page.keyboard.press("ArrowRight")
    notebook.until(RHO, lambda now: now == 0.18)  # fourteen stops up from 0.05
    changes = "document.querySelector('.samviz-graph').data.find(t => t.name === 'changes')"
    wait(notebook, f"{changes}?.text.some(text => text.trim().endsWith('→ 0.18'))")
    steps = notebook.kernel("probe.steps")
    notebook.until("probe.steps", lambda now: now > steps + 300, seconds=60)
    wait(notebook, "document.querySelector('.samviz-graph').data.some(t => t.name === 'worst')")
    wait(notebook, "document.querySelector('.samviz-graph').data.some(t => t.name === 'density')")
    notebook.screenshot("watch", ".samviz-panel")


def test_stop_stops_and_start_goes_on(notebook):
    press(notebook, "Stop")
    says(notebook, "Stopped", seconds=10)
    steps = notebook.until("probe.steps")
    notebook.page.wait_for_timeout(300)
    assert notebook.kernel("probe.steps") == steps
    press(notebook, "Start")
    says(notebook, "Training", seconds=10)
    notebook.until("probe.steps", lambda now: now > steps)


def test_a_failure_is_told_and_the_record_stays(notebook):
    notebook.kernel("globals().__setitem__('broken', True)")
    alert = notebook.page.locator(".samviz-panel").get_by_role("alert")
    alert.filter(has_text="the data ran out").wait_for()
    assert f"RuntimeError at step {notebook.kernel('probe.steps'):,}, in train, line" in alert.inner_text()
    assert sentence(notebook).startswith("Failed")
    assert len(curve(notebook, "λ₁", "x")) > 5
    notebook.screenshot("watch_failed", ".samviz-panel")
