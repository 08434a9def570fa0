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
from samviz.lab.widget import MAX_IN_FLIGHT

from .conftest import Notebook
from .pages import expect, violations
from .panels import AT_REST, GRAPH, curve, dragged, enter, open_more, press, settled, wait, without_errors
from .test_quiz import OPTIONS, judgement, score

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
        f"{name} = {name}_panel(); {name}.set(**{QUICK.get(f'{name}_panel', {})})\n"
        f"if {name}.question:\n    {name}.set(guess='skipped')\n{name}._settle()\n{name}"
        for name in PANELS
    ),
    f"{TRAINING}\nslices = slice_panel(landscape(quadratic([2.0, 1.0]), torch.ones(2), resolution=3))\nslices",
    "watch = probe.lab(train, optimizer)\nwatch",
    "quiz('alignment')",
]
GRAPHS = ["lab", *PANELS, "slices", "watch"]  # in the page's order
EVERY = "({})".format(", ".join(GRAPHS))
LOSS = f"{GRAPH.format(0)}.data.find(trace => trace.name === 'loss')"
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


class Drag(NamedTuple):
    """A point that is dragged by so many pixels, and a trace that starts or lies where it is then."""

    point: str
    right: float
    down: float
    trace: str
    settings: str = ""  # with which the trace is drawn


WITHOUT_EFFECT = {("alignment", "rho"), ("sweep", "again")}  # x scales with ρ; a full batch has no other samples
DRAGS = {
    "sharpness": Drag("x", -150, 60, "x"),
    "cycle": Drag("x", -220, 30, "orbit"),
    "ablation": Drag("start", 200, -100, "SAM", "method='sam', lr=0.02"),
    "flow": Drag("start", -120, -90, "path"),
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


def test_every_panel_is_on_the_page(page: Notebook) -> None:
    assert page.page.locator(".samviz-card").count() == len(GRAPHS) + 1
    assert (
        "The loss in the figure is between 0 and 6." in card(page, "slices").locator(".samviz-sentence").text_content()
    )


ROLES = {"slider": "slider", "batchslider": "slider", "choice": "combobox", "numberlist": "combobox"}
ROLES |= {"switch": "checkbox", "button": "button", "numberfield": "textbox"}
ORDER = [*ROLES][::-1]


def operate(found: Any, spec: dict[str, Any], value: Any) -> Any:
    """Move a control to another value, as a learner does; return the value that it should then have."""
    kind, control = spec["kind"], found.get_by_role(ROLES[spec["kind"]], name=spec["label"], exact=True)
    if kind.endswith("slider"):
        stop, stops = int(control.input_value()), spec["stops"]
        after = stop - 1 if stop == len(stops) - 1 else stop + 1
        control.press("ArrowRight" if after > stop else "ArrowLeft")
        return stops[after]
    if kind in ("choice", "numberlist"):
        options = [option for option, _ in spec["options"]] if kind == "choice" else list(spec["stops"])
        after = options[(options.index(value) + 1) % len(options)]
        control.select_option(str(after))
        return after
    if kind == "switch":
        control.set_checked(not value)
        return not value
    if kind == "button":
        control.click()
        return value + 1
    after = min(value + 1, spec["high"])
    after = after if after != value else value - 1
    enter(control, str(after))
    return after


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_answers_each_of_its_controls(page: Notebook, name: str) -> None:
    """The picture or the sentence changes with each control, and the page shows the sentence of the kernel."""
    found, number = card(page, name), GRAPHS.index(name)
    found.scroll_into_view_if_needed()
    shown = found.locator(".samviz-sentence")
    sentence = shown.text_content
    settled(page, name)
    first, specs = page.kernel(f"({name}.values, {name}.view.controls)")
    for spec in sorted((spec for spec in specs if spec["kind"] in ROLES), key=lambda spec: ORDER.index(spec["kind"])):
        before, look = page.kernel(f"{name}.values"), (page.page.evaluate(LOOK, number), sentence())
        expected = operate(found, spec, before[spec["name"]])
        now = page.until(f"{name}.values", lambda values, before=before: values != before)
        assert now == before | {spec["name"]: expected}
        settled(page, name)
        expect(shown).to_have_text(page.kernel(f"{name}.sentence"))
        changed = (page.page.evaluate(LOOK, number), sentence()) != look
        assert changed or (name, spec["name"]) in WITHOUT_EFFECT, spec["name"]
    if name in DRAGS:
        point, right, down, trace, settings = DRAGS[name]
        page.kernel(f"{name}.set({settings})")
        settled(page, name)
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
    for spec in (spec for spec in specs if spec["kind"] == "slider"):
        slider = found.get_by_role("slider", name=spec["label"], exact=True).element_handle()
        follows = "([slider, value]) => Number(slider.getAttribute('aria-valuetext')) === value"
        page.page.wait_for_function(follows, arg=[slider, first[spec["name"]]])


def test_the_lab_plays_pauses_steps_and_resets(page: Notebook, lab: Any) -> None:
    status = lab.locator(".samviz-status")
    status.filter(has_text="step 0 · paused · CPU float64").wait_for()
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
    for number in range(5):
        press(lab, "Play")
        page.until("lab.session.run.steps > 20")
        old = page.kernel("id(lab.session.run)")
        press(lab, "Reset")
        page.page.wait_for_timeout(100 * number)  # from at once to half a second later
        slider.press("ArrowRight")
        page.until(f"id(lab.session.run) != {old} and lab.session.run.steps == 0 and {AT_REST}")
        rho = float(slider.get_attribute("aria-valuetext"))
        assert page.until("lab.session.run.settings.rho", lambda value, rho=rho: value == rho) > 0
        assert page.kernel("(lab.view.playing, lab.view.alert)") == (False, "")


def test_the_controls_of_the_lab_reach_the_run_and_are_confirmed(page: Notebook, lab: Any) -> None:
    open_more(lab)
    for spec in page.kernel("lab.view.controls"):
        if spec["kind"].startswith("timeline"):
            continue  # test_timeline.py uses these
        name, value = spec["name"], page.kernel("lab.values")[spec["name"]]
        expected = operate(lab, spec, value)
        page.page.wait_for_function("([name, value]) => window.confirmed[name] === value", arg=[name, expected])
        assert page.kernel(f"lab.values[{name!r}]") == expected
    values = page.kernel("lab.values")
    reached = "{**lab.session.run.settings_row(), 'plane': lab.session.landscape.plane.kind}"
    page.until(reached, lambda now: now.items() <= (values | {"loss_name": ""}).items())  # it has no choice of losses

    lab.get_by_role("combobox", name="preset", exact=True).select_option("1-SAM")
    row = page.until("lab.session.run.settings_row()", lambda row: row["rule"] == "sam" and row["batch_size"] == 1)
    assert row == page.kernel("lab.presets['1-SAM'] | {'micro_batch': 1, 'loss_name': ''}")
    for label, shown in (("ρ radius, typed", "0.1"), ("batch size, typed", "1"), ("rule", "sam")):
        expect(lab.get_by_label(label, exact=True)).to_have_value(shown)
    press(lab, "Play")
    wait(page, f"{LOSS}.x.length > 3")
    press(lab, "Reset")
    page.until("lab.session.run.seed == 1 and lab.session.run.steps == 0")
    wait(page, f"{GRAPH.format(0)}.data.find(trace => trace.name === 'last run: loss')?.x.length > 3")


def test_a_divergence_is_explained_and_reset_works_after_it(page: Notebook, lab: Any) -> None:
    field, alert = lab.get_by_label("η learning rate, typed"), lab.get_by_role("alert")
    before = field.input_value()
    press(lab, "Play")
    page.until("lab.session.run.steps > 20")
    enter(field, "5")
    alert.filter(has_text="diverged at step").wait_for()
    assert "> 2" in alert.text_content()
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    enter(field, before)
    page.until("lab.values['lr']", lambda lr: lr != 5)
    press(lab, "Reset")
    page.until("lab.session.run.steps == 0")
    press(lab, "Play")
    page.until("lab.session.run.steps > 20")
    expect(alert).to_have_text("")


def test_what_is_typed_arrives_exactly_and_what_cannot_be_is_refused(page: Notebook, lab: Any) -> None:
    field = lab.get_by_label("ρ radius, typed")
    field.select_text()
    field.press_sequentially("0.0123")
    assert page.kernel("lab.values['rho']") == 0  # not before it is meant
    field.press("Enter")
    assert page.until("lab.session.run.settings.rho") == 0.0123
    assert lab.get_by_role("slider", name="ρ radius", exact=True).get_attribute("aria-valuetext") == "0.0123"
    for text in ("", "abc", "-0.1", "nan", "1e9"):
        enter(field, text)
        assert field.get_attribute("aria-invalid") == "true", text
        reason = lab.get_by_text("Enter a number from 0 to 100; the value is still 0.0123.")
        assert reason.is_visible(), text
        page.page.keyboard.press("Tab")
        assert field.input_value() == text  # it stays to be corrected
    field.fill("0,0124")  # a decimal comma
    field.press("Enter")
    assert page.until("lab.session.run.settings.rho == 0.0124")
    assert field.get_attribute("aria-invalid") is None
    expect(reason).to_have_count(0)
    batch = lab.get_by_label("batch size, typed")
    enter(batch, "2.5")
    assert lab.get_by_text("Enter a whole number from 1 to 20; the value is still 20 (full).").is_visible()
    enter(batch, "3")
    page.until("lab.session.run.settings.batch_size == 3")
    assert page.kernel("lab.session.run.settings.rho") == 0.0124


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
    assert max(in_flight) <= MAX_IN_FLIGHT
    drawn(page)


def test_an_answer_to_the_quiz_is_judged(page: Notebook) -> None:
    found = card(page, "quiz")
    first = found.get_by_role("group", name=re.compile(r"^1\. "))
    first.get_by_role("radio").first.focus()
    for key, option in zip(("Space", "ArrowDown", "ArrowDown"), OPTIONS[0]):
        page.page.keyboard.press(key)
        first.get_by_role("status").filter(has_text=judgement(option)).wait_for()
        found.get_by_text(score(option)).wait_for()
    expect(found.get_by_label("To keep your answers")).to_have_value('quiz("alignment", "c")')
    right = OPTIONS[0][2].get("right", False)
    scores = "__import__('samviz.course.exercises', fromlist=['it'])._scores['quiz alignment']"
    page.until(scores, lambda value: value == (right, len(OPTIONS)))


def test_a_training_is_watched_steered_and_stopped(page: Notebook) -> None:
    found, graph = card(page, "watch"), GRAPH.format(GRAPHS.index("watch"))
    found.scroll_into_view_if_needed()
    sentence = found.locator(".samviz-sentence")
    sentence.filter(has_text="Press Start · step 0").wait_for()
    press(found, "Start")
    sentence.filter(has_text="Training").wait_for()
    wait(page, f"{graph}.data.find(trace => trace.name === 'λ₁')?.x.length > 3")
    found.get_by_role("slider", name="ρ radius", exact=True).press("ArrowRight")
    page.until("optimizer.param_groups[0]['rho']", lambda rho: rho == 0.055)
    wait(page, f"{graph}.data.some(trace => [trace.text].flat().join().includes('0.05 → 0.055'))")
    press(found, "Stop")
    sentence.filter(has_text="Stopped").wait_for()
    steps = page.kernel("probe.steps")
    assert not page.kernel("watch.training")
    press(found, "Start")
    page.until("probe.steps", lambda now: now > steps)  # the kernel answers while the training continues
    press(found, "Stop")
    sentence.filter(has_text="Stopped").wait_for()


def test_axe_finds_nothing_on_the_page(page: Notebook) -> None:
    drawn(page)
    assert violations(page.page, ".samviz-card") == []


def test_the_saved_notebook_is_opened_again_and_shows_everything(
    page: Notebook, keep_notebook: Callable[..., Notebook]
) -> None:
    enter(card(page, "lab").get_by_label("ρ radius, typed"), "0.0234")
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
    for number, look in enumerate(looks):  # a figure may be fitted to the page after its first frame
        page.page.wait_for_function(f"([number, look]) => ({LOOK})(number) === look", arg=[number, look])
    expect(page.page.locator(".samviz-sentence")).to_have_text(sentences)
    lab = card(page, "lab")
    expect(lab.get_by_label("ρ radius, typed")).to_have_value("0.0234")
    steps = page.kernel("lab.session.run.steps")
    press(lab, "Step")
    wait(page, f"{LOSS}.x.at(-1) === {steps + 1}")
    page.until(AT_REST)
