"""One page with the lab, every panel, a quiz and a training: what each must do, checked in one kernel.

This is the quick browser session of `make test`. No test restarts the kernel: each puts back what it has moved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from pictures import QUICK

import samviz.panels
from samviz.lab import Button, Choice, Slider, Switch

from .conftest import Notebook
from .pages import violations
from .panels import GRAPH, curve, dragged, press, settled, wait, without_errors

PANELS = [name.removesuffix("_panel") for name in sorted(samviz.panels.__all__) if name != "slice_panel"]
TRAINING = """import torch
from samviz.optim import SAM
from samviz.probe import Probe

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
inputs = torch.randn(40, 2)
targets = inputs.prod(1, keepdim=True)
optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1, rho=0.05)
probe = Probe(model, torch.nn.MSELoss(), (inputs, targets), every=20, budget=0.5)


def train():
    while True:
        def closure():
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            return loss

        probe.step(batch_loss=optimizer.step(closure))
"""
CELLS = [
    "from samviz.geometry import landscape\nfrom samviz.problems import mlp, quadratic",
    f"from samviz.lab import Lab, quiz\nfrom samviz.panels import {', '.join(samviz.panels.__all__)}",
    "lab = Lab(mlp([1, 8, 8, 1], data='sine'), device='cpu')\nlab",
    # without a picture of every piece of work, each of which takes a browser 0.2 s
    *(
        f"{name} = {name}_panel(); {name}.set(**{QUICK.get(f'{name}_panel', {})}); {name}._settle()\n{name}"
        for name in PANELS
    ),
    f"{TRAINING}\nslices = slice_panel(landscape(quadratic([2.0, 1.0]), torch.ones(2), resolution=3))\nslices",
    "watch = probe.lab(train, optimizer)\nwatch",
    "quiz('alignment')",
]
GRAPHS = ["lab", *PANELS, "slices", "watch"]  # in the page's order
EVERY = "({})".format(", ".join(GRAPHS))
LOSS = f"{GRAPH.format(0)}.data.find(trace => trace.name === 'loss')"
AT_REST = "lab.scheduler.idle and lab.view._seq == lab.view._ack"
LOOK = f"""(number) => {{ // a number that stands for what the graph shows
    const {{ data, layout }} = {GRAPH.format("number")};
    const shown = [data, layout.title, layout.annotations, layout.shapes];
    const text = JSON.stringify(shown, (_, value) => ArrayBuffer.isView(value) ? [...value] : value);
    let hash = 0;
    for (let i = 0; i < text.length; i += 1) hash = (31 * hash + text.charCodeAt(i)) | 0;
    return hash;
}}"""
LISTEN = """() => { // to what the kernel confirms
    window.confirmed = {};
    const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
    kernel.iopubMessage.connect((_, { content }) => {
        if (content?.data?.content?.confirmed) Object.assign(window.confirmed, content.data.content.values);
    });
}"""


class Move(NamedTuple):
    """What a learner does with a control of a panel, and what follows."""

    role: str
    label: str
    action: Any  # a key, a text, an option, whether a switch is on; None presses a button
    name: str  # of the panel's value that changes
    value: Any
    says: str | None = ""  # what the sentence then holds; "": another sentence than before, None: any
    redraws: bool = True


class Drag(NamedTuple):
    """A point that is dragged by so many pixels, and a trace that starts or lies where it is then."""

    point: str
    right: float
    down: float
    trace: str


FIRST = {  # of the first picture's sentence
    "sharpness": "R_ρ/ρ² at ρ = 0.4",
    "cycle": "100 steps from (0.5, 1): |cos(x, v₁)| = 1.0000, ‖x‖ = 0.5333, predicted 0.5333.",
    "ablation": "SAM: λ₁ 20.5 → 16.0",
    "figure_one": "t = 1,000 steps",
    "flow": "t = 133, τ = ηρ²t = 1.00. Phase II began at step ",
    "batch": "Step 1600, τ = ηρ²t = 0.72. One sample: trace 10.68, predicted 10.66",
    "alignment": "Batch size 3 of 6: the mean of |cos(∇L_B, v₁)| is 0.8",
    "landscapes": "SAM’s minimum looks flatter",
    "sweep": "Step 10 with all 40 a step. At the start λ₁ was 5.97",
}
MOVES: dict[str, list[Move]] = {
    "sharpness": [
        Move("slider", "ρ radius", "Home", "rho", 0.01, "at ρ = 0.01 "),
        Move("slider", "distance to Γ, ×", "Home", "left", 0.001, "worst 1.07"),
        Move("slider", "λ₁/λ₂", "End", "ratio", 10, "(0.100)"),
        Move("combobox", "bowl", "valley: minima along a line", "bowl", "valley", "minimizer Φ(x)"),
        Move("combobox", "bowl", "bent: not quadratic", "bowl", "bent", "minimum"),
    ],
    "cycle": [
        Move("slider", "λ₂/λ₁", "Home", "share", 0.02, "predicted 0.9835"),
        Move("slider", "η (λ₁ = 2)", "End", "lr", 1.1, "There is no cycle"),
        Move("slider", "η (λ₁ = 2)", "Home", "lr", 0.02, "ηλ₁ = 0.04."),
        Move("slider", "ρ radius", "End", "rho", 1, "predicted 0.02041"),
        Move("combobox", "rule", "gradient descent", "rule", "gd", "converges to 0"),
    ],
    "ablation": [  # first with few methods, for each takes its time
        Move("checkbox", "exact L_Max", False, "worst", False),
        Move("checkbox", "exact L_Asc", False, "ascent", False),
        Move("checkbox", "1-SAM", False, "one", False),
        Move("textbox", "η learning rate, typed", "0.01", "lr", 0.01, "t = 200 steps, τ = ηρ²t = 2.00."),
        Move("slider", "η learning rate", "ArrowRight", "lr", 0.011, "t = 182 steps, τ = ηρ²t = 2.00."),
        Move("slider", "ρ radius", "ArrowLeft", "rho", 0.9, "t = 224 steps, τ = ηρ²t = 2.00."),
        Move("combobox", "contours of", "trace", "shown", "trace", None),
        Move("checkbox", "exact L_Avg", True, "average", True, "exact L_Avg: trace"),
        Move("checkbox", "SAM", False, "sam", False, "exact L_Avg: trace"),
        Move("checkbox", "exact L_Avg", False, "average", False, "Gradient descent does not move along the floor."),
        Move("checkbox", "gradient descent", False, "gd", False, "Choose a method."),
        Move("checkbox", "SAM", True, "sam", True, "SAM: λ₁"),
    ],
    "figure_one": [Move("slider", "share of the run", "Home", "share", 0, "t = 0 steps")],
    "flow": [
        Move("slider", "η learning rate", "ArrowLeft", "lr", 0.027, "t = 148,"),
        Move("slider", "ρ radius", "ArrowLeft", "rho", 0.45, "t = 183,"),
        Move("combobox", "method", "1-SAM: Eq. 18, trace", "kind", "average", "Eq. 18 predicts (0.7"),
    ],
    "batch": [
        Move("slider", "ρ radius", "End", "rho", 0.2, "Step 1600, τ = ηρ²t = 1.28."),
        Move("slider", "η", "Home", "lr", 0.005, "Step 1600, τ = ηρ²t = 0.32."),
        Move("button", "Other samples", None, "again", 1, None),
        Move("combobox", "problem", "network, 5 samples", "problem", "network", "Step 400, τ = ηρ²t = 0.08."),
    ],
    "alignment": [
        Move("slider", "batch size", "Home", "size", 1, "Lemma 5.5 predicts exactly 1."),
        Move("slider", "ρ radius", "Home", "rho", 1e-6, "Lemma 5.5 predicts exactly 1.", redraws=False),
        Move("slider", "λ₂/λ₁ of a sample", "End", "share", 0.9, "does not apply"),
        Move("slider", "η", "End", "lr", 0.3),
    ],
    "landscapes": [
        Move("slider", "radius", "Home", "radius", 0.01),
        Move("slider", "α of SAM’s layers", "End", "alpha", 10, "here α = 10."),
        Move("checkbox", "filter normalization", False, "normalized", False, "SAM’s minimum looks sharper"),
        Move("button", "other random directions", None, "seed", 1),
        Move("combobox", "plane", "both minima and the start", "plane", "through", "0.0% of the distance"),
    ],
    "sweep": [
        Move("slider", "steps", "ArrowRight", "steps", 30, "Step 30 with all 40 a step."),
        Move("checkbox", "4 of 40 labels wrong", False, "wrong", False, "At the start λ₁ was 3.60"),
        Move("combobox", "a step sees", "one sample", "size", "1", "Step 30 with one sample a step."),
        Move("button", "Other samples", None, "again", 1, None),
    ],
}


def moves_of(name: str) -> list[Move]:
    """Return one move of each control of a panel without moves of its own: to the last stop, the last option."""
    moves = []
    for key, control in getattr(samviz.panels, f"{name}_panel")().controls.items():
        label, value = control.label, control.value
        if isinstance(control, Slider):
            last = control.stops[-1] if value != control.stops[-1] else control.stops[0]
            moves.append(Move("slider", label, "End" if value != control.stops[-1] else "Home", key, last, None, False))
        elif isinstance(control, Choice):
            other = next(option for option in control.options if option != value)
            moves.append(Move("combobox", label, control.options[other], key, other, None, False))
        elif isinstance(control, Switch):
            moves.append(Move("checkbox", label, not value, key, not value, None, False))
        elif isinstance(control, Button):
            moves.append(Move("button", label, None, key, value + 1, None, False))
    return moves


DRAGS = {
    "sharpness": Drag("x", -150, 60, "x"),
    "cycle": Drag("x", -220, 30, "orbit"),
    "ablation": Drag("start", 200, -100, "SAM"),
    "flow": Drag("start", -120, -90, "iterate"),
}


@pytest.fixture(scope="module")
def page(keep_notebook: Callable[..., Notebook]) -> Notebook:
    """The notebook, run; every graph shows its first picture."""
    notebook = keep_notebook("page.ipynb", CELLS)
    notebook.page.evaluate(LISTEN)
    notebook.run_one_by_one()
    drawn(notebook)
    return notebook


@pytest.fixture(autouse=True)
def no_errors(page: Notebook) -> Iterator[None]:
    """No test leaves an error in the page or an alert."""
    with without_errors(page):
        yield


@pytest.fixture
def lab(page: Notebook) -> Iterator[Any]:
    """The lab's card, at rest at step 0; it is put back afterwards."""
    found = card(page, "lab")
    found.scroll_into_view_if_needed()
    first = page.kernel("lab.values")
    yield found
    if page.kernel("lab.view.playing"):
        press(found, "Pause")
    page.kernel(f"lab.view.put({first})")
    page.until(AT_REST)
    press(found, "Reset")
    page.until(f"lab.session.run.steps == 0 and lab.session.run.seed == 0 and {AT_REST}")


def card(notebook: Notebook, name: str) -> Any:
    return notebook.page.locator(".samviz-card").nth([*GRAPHS, "quiz"].index(name))


def drawn(notebook: Notebook) -> None:
    """Wait until every graph shows the newest picture that the kernel has."""
    graphs = "[...document.querySelectorAll('.samviz-graph')]"
    wait(notebook, f"{graphs}.length === {len(GRAPHS)} && {graphs}.every(graph => graph.data)")
    notebook.until(f"all(it.scheduler.idle and it.view._seq == it.view._ack for it in {EVERY})", seconds=120)


def confirmed(notebook: Notebook, name: str, value: Any) -> None:
    """Wait until the page has heard from the kernel that a setting has this value."""
    notebook.page.wait_for_function("([name, value]) => window.confirmed[name] === value", arg=[name, value])


def test_every_panel_is_on_the_page(page: Notebook) -> None:
    assert page.page.locator(".samviz-card").count() == len(GRAPHS) + 1
    assert (
        "The loss in the figure is between 0 and 6." in card(page, "slices").locator(".samviz-sentence").text_content()
    )


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_answers_each_of_its_controls(page: Notebook, name: str) -> None:
    found, number = card(page, name), GRAPHS.index(name)
    found.scroll_into_view_if_needed()
    sentence = found.locator(".samviz-sentence").text_content
    settled(page, name)
    assert FIRST.get(name, "") in sentence()
    first = page.kernel(f"{name}.values")
    moves = MOVES.get(name) or moves_of(name)
    points = {key for key, value in first.items() if isinstance(value, list | tuple)}
    assert {move.name for move in moves} | points == first.keys()  # no control is left out
    for move in moves:
        before, look, words = page.kernel(f"{name}.values"), page.page.evaluate(LOOK, number), sentence()
        use(found.get_by_role(move.role, name=move.label, exact=True), move)
        now = page.until(f"{name}.values", lambda values, before=before: values != before)
        assert now == before | {move.name: move.value}, move
        settled(page, name)
        assert not move.redraws or page.page.evaluate(LOOK, number) != look, move
        assert (move.says or "") in sentence(), move
        assert move.says != "" or sentence() != words, move
    if name in DRAGS:
        point, right, down, trace = DRAGS[name]
        handle = found.get_by_role("button", name=f"point {point}")
        before = handle.bounding_box()
        at = dragged(page, point, right, down, name, found)
        after = handle.bounding_box()  # over the mark that is drawn
        assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((right, down), abs=3)
        assert (at[0] - first[point][0]) * right > 0
        assert (at[1] - first[point][1]) * down < 0
        drawn_at = curve(page, trace, "x", number)[0], curve(page, trace, "y", number)[0]
        assert drawn_at == pytest.approx(at, abs=1e-6)
    page.kernel(f"{name}.set(**{first!r})")  # and the controls follow
    for label in {move.label for move in moves if move.role == "slider"}:
        value = first[next(move.name for move in moves if move.label == label)]
        slider = found.get_by_role("slider", name=label, exact=True).element_handle()
        follows = "([slider, value]) => Number(slider.getAttribute('aria-valuetext')) === value"
        page.page.wait_for_function(follows, arg=[slider, value])


def use(control: Any, move: Move) -> None:
    """Do with a control what a learner does."""
    if move.role == "slider":
        control.press(move.action)
    elif move.role == "textbox":
        control.fill(move.action)
        control.press("Enter")
    elif move.role == "combobox":
        control.select_option(move.action)
    elif move.role == "checkbox":
        control.set_checked(move.action)
    else:
        control.click()


def test_the_lab_plays_pauses_steps_and_resets(page: Notebook, lab: Any) -> None:
    status = lab.locator(".samviz-status")
    assert status.text_content().startswith("step 0 · paused · CPU float64")
    press(lab, "Play")
    wait(page, f"{LOSS}.x.length > 3")
    status.filter(has_text="steps/s").wait_for()
    press(lab, "Pause")
    page.until(f"not lab.view.playing and {AT_REST}")
    steps = page.kernel("lab.session.run.steps")
    wait(page, f"{LOSS}.x.at(-1) === {steps}")
    status.filter(has_text=f"step {steps:,} · paused").wait_for()
    page.page.wait_for_timeout(200)
    assert page.kernel("lab.session.run.steps") == steps
    press(lab, "Step")
    wait(page, f"{LOSS}.x.at(-1) === {steps + 1}")
    assert page.kernel("lab.session.run.steps") == steps + 1
    press(lab, "Reset")
    wait(page, f"{LOSS}.x.length === 1 && {LOSS}.x[0] === 0")
    assert page.kernel("lab.session.run.steps") == 0


def test_reset_while_the_lab_plays_and_a_slider_moved_right_after(page: Notebook, lab: Any) -> None:
    slider = lab.get_by_role("slider", name="ρ radius", exact=True)
    for _ in range(3):
        press(lab, "Play")
        page.until("lab.session.run.steps > 20")
        press(lab, "Reset")
        slider.press("ArrowRight")
        page.until(f"lab.session.run.steps == 0 and not lab.view.playing and {AT_REST}")
        rho = float(slider.get_attribute("aria-valuetext"))
        assert page.until("lab.session.run.settings.rho", lambda value, rho=rho: value == rho) > 0
        assert lab.get_by_role("alert").text_content() == ""


def test_the_controls_of_the_lab_reach_the_run_and_are_confirmed(page: Notebook, lab: Any) -> None:
    settings = "lab.session.run.settings"
    lower = page.kernel("max(lr for lr in lab.controls['lr'].stops if lr < lab.values['lr'])")
    for role, label, action, name, value, reached in (
        ("slider", "ρ radius", "ArrowRight", "rho", 0.001, f"{settings}.rho"),
        ("slider", "η learning rate", "ArrowLeft", "lr", lower, f"{settings}.lr"),
        ("slider", "batch size", "ArrowDown", "batch_size", 19, f"{settings}.batch_size"),
        ("combobox", "rule", "asam", "rule", "asam", f"{settings}.rule"),
        ("combobox", "plane", "random", "plane", "random", "lab.session.landscape.plane.kind"),
        ("combobox", "steps per frame", "5", "steps_per_frame", 5, "lab.values['steps_per_frame']"),
        ("checkbox", "ghost of the last run", True, "compare", True, "lab.values['compare']"),
    ):
        use(lab.get_by_role(role, name=label, exact=True), Move(role, label, action, name, value))
        confirmed(page, name, value)
        assert page.until(reached, lambda now, value=value: now == value) == value
    seed = lab.get_by_role("textbox", name="seed", exact=True)
    seed.fill("7")
    seed.press("Enter")
    confirmed(page, "seed", 7)

    lab.get_by_role("combobox", name="preset", exact=True).select_option("1-SAM")
    assert page.until(settings + ".row()", lambda row: row["rule"] == "sam") == page.kernel(
        "{**lab.presets['1-SAM'], 'rho': 0.1, 'batch_size': 1}"
    )
    for label, shown in (("ρ radius, typed", "0.1"), ("batch size, typed", "1"), ("rule", "sam")):
        field = lab.get_by_label(label, exact=True).element_handle()
        page.page.wait_for_function("([field, value]) => field.value === value", arg=[field, shown])
    press(lab, "Play")
    wait(page, f"{LOSS}.x.length > 3")
    press(lab, "Reset")
    page.until("lab.session.run.seed == 7 and lab.session.run.steps == 0")
    wait(page, f"{GRAPH.format(0)}.data.find(trace => trace.name === 'last run: loss')?.x.length > 3")


def test_divergence_is_told_and_reset_works_after_it(page: Notebook, lab: Any) -> None:
    field, alert = lab.get_by_label("η learning rate, typed"), lab.get_by_role("alert")
    before = field.input_value()
    press(lab, "Play")
    page.until("lab.session.run.steps > 20")
    field.fill("5")
    field.press("Enter")
    alert.filter(has_text="diverged at step").wait_for()
    assert "> 2" in alert.text_content()
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    field.fill(before)
    field.press("Enter")
    page.until("lab.values['lr']", lambda lr: lr != 5)
    press(lab, "Reset")
    page.until("lab.session.run.steps == 0")
    press(lab, "Play")
    page.until("lab.session.run.steps > 20")
    assert alert.text_content() == ""


def test_what_is_typed_arrives_exactly_and_what_cannot_be_is_refused(page: Notebook, lab: Any) -> None:
    field = lab.get_by_label("ρ radius, typed")
    field.select_text()
    field.press_sequentially("0.0123")
    assert page.kernel("lab.values['rho']") == 0  # not before it is meant
    field.press("Enter")
    assert page.until("lab.session.run.settings.rho") == 0.0123
    assert lab.get_by_role("slider", name="ρ radius", exact=True).get_attribute("aria-valuetext") == "0.0123"
    for text in ("", "abc", "-0.1", "nan", "1e9"):
        field.fill(text)
        field.press("Enter")
        assert field.get_attribute("aria-invalid") == "true", text
        assert field.get_attribute("title") == "Type a number from 0 to 100.", text
        assert field.input_value() == text
        page.page.keyboard.press("Tab")
        assert field.input_value() == "0.0123", text
        assert field.get_attribute("aria-invalid") is None, text
    batch = lab.get_by_label("batch size, typed")
    batch.fill("2.5")
    batch.press("Enter")
    assert batch.get_attribute("title") == "Type a whole number from 1 to 20."
    batch.fill("3")
    batch.press("Enter")
    page.until("lab.session.run.settings.batch_size == 3")
    assert page.kernel("lab.session.run.settings.rho") == 0.0123


def test_keys_move_a_slider_stop_by_stop(page: Notebook, lab: Any) -> None:
    for label, name, key, after in (
        ("ρ radius", "rho", "ArrowUp", 0.001),
        ("ρ radius", "rho", "ArrowRight", 0.0011),
        ("ρ radius", "rho", "End", 1),
        ("ρ radius", "rho", "Home", 0),
        ("batch size", "batch_size", "ArrowDown", 19),
        ("batch size", "batch_size", "End", 20),
    ):
        slider = lab.get_by_role("slider", name=label, exact=True)
        slider.press(key)
        page.until(f"lab.values[{name!r}]", lambda value, after=after: value == after)
        assert slider.get_attribute("aria-valuetext") == ("20 (full)" if after == 20 else f"{after:g}")


def test_frames_are_acknowledged(page: Notebook, lab: Any) -> None:
    before = page.kernel("lab.view._ack")
    press(lab, "Play")
    in_flight = set()
    while page.kernel("lab.view._ack") < before + 10:
        in_flight.add(page.kernel("lab.view._seq - lab.view._ack"))
        page.page.wait_for_timeout(20)
    press(lab, "Pause")
    assert max(in_flight) <= 2
    drawn(page)


def test_an_answer_to_the_quiz_is_judged(page: Notebook) -> None:
    found = card(page, "quiz")
    first = found.get_by_role("group", name=re.compile(r"^1\. "))
    first.get_by_role("radio").first.press("Space")
    first.get_by_role("status").filter(has_text="✗ Not yet. Gradient descent shrinks the part along v₁").wait_for()
    found.get_by_text("0 of 4 right.").wait_for()
    page.page.keyboard.press("ArrowDown")
    first.get_by_role("status").filter(has_text="✓ Right. The component that decays first").wait_for()
    found.get_by_text("1 of 4 right.").wait_for()
    assert found.get_by_label("To keep your answers").input_value() == 'quiz("alignment", "b")'
    page.until("__import__('samviz.course.exercises', fromlist=['it'])._scores['quiz alignment'] == (1, 4)")


def test_a_training_is_watched_steered_and_stopped(page: Notebook) -> None:
    found, graph = card(page, "watch"), GRAPH.format(GRAPHS.index("watch"))
    found.scroll_into_view_if_needed()
    sentence = found.locator(".samviz-sentence")
    assert sentence.text_content().startswith("Press Start · step 0")
    press(found, "Start")
    sentence.filter(has_text="Training").wait_for()
    wait(page, f"{graph}.data.find(trace => trace.name === 'λ₁')?.x.length > 3")
    found.get_by_role("slider", name="ρ radius", exact=True).press("ArrowRight")
    page.until("optimizer.param_groups[0]['rho']", lambda rho: rho == 0.055)
    wait(page, f"{graph}.data.some(trace => [trace.text].flat().join().includes('0.05 → 0.055'))")
    press(found, "Stop")
    sentence.filter(has_text="Stopped").wait_for()
    assert not page.kernel("watch.training")


def test_axe_finds_nothing_on_the_page(page: Notebook) -> None:
    drawn(page)
    assert violations(page.page, ".samviz-card") == []


def test_the_saved_notebook_is_opened_again_and_shows_everything(
    page: Notebook, keep_notebook: Callable[..., Notebook]
) -> None:
    typed = card(page, "lab").get_by_label("ρ radius, typed")
    typed.fill("0.0234")
    typed.press("Enter")
    page.until("lab.session.run.settings.rho == 0.0234")
    press(card(page, "lab"), "Step")
    drawn(page)
    looks = [page.page.evaluate(LOOK, number) for number in range(len(GRAPHS))]
    sentences = page.page.locator(".samviz-sentence").all_text_contents()
    page.command("docmanager:save")
    page.page.close()
    again = keep_notebook("page.ipynb")
    page.page, page.errors = again.page, again.errors
    drawn(page)
    trusted = "() => [...window.jupyterapp.shell.currentWidget.content.model.cells].every(cell => cell.trusted)"
    assert page.page.evaluate(trusted)
    assert [page.page.evaluate(LOOK, number) for number in range(len(GRAPHS))] == looks
    assert page.page.locator(".samviz-sentence").all_text_contents() == sentences
    lab = card(page, "lab")
    assert lab.get_by_label("ρ radius, typed").input_value() == "0.0234"
    steps = page.kernel("lab.session.run.steps")
    press(lab, "Step")
    wait(page, f"{LOSS}.x.at(-1) === {steps + 1}")
    page.until(AT_REST)
