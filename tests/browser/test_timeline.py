"""The timeline of the lab, dragged with the mouse and moved with the keyboard."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Notebook
from .pages import drag, expect
from .panels import AT_REST, SINE, curve, lab_in, press, without_errors


def test_a_learner_drags_back_while_it_plays_and_continues_from_there(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook("timeline.ipynb", SINE)
    notebook.run_all()
    lab, page = lab_in(notebook), notebook.page
    timeline = lab.get_by_role("slider", name="timeline")
    with without_errors(notebook):
        assert timeline.is_disabled()
        lab.get_by_label("preset").select_option("SAM, small ρ (the theorem)")
        press(lab, "Play")
        notebook.until("lab.session.run.steps >= 500")
        timeline.scroll_into_view_if_needed()
        box = timeline.bounding_box()
        x, y = box["x"] + box["width"], box["y"] + box["height"] / 2
        drag(page, (x - 9, y), (x - 0.6 * box["width"], y), steps=30)  # from the thumb's centre
        step, shown_last = map(int, timeline.evaluate("slider => [slider.value, slider.max]"))
        notebook.until(f"lab.session.looks_back_at == {step} and {AT_REST}")
        last, measured = notebook.kernel("((end := lab.session.at_end.run).steps, int(end.history.rows[-1]['step']))")
        assert 0.3 * shown_last < step < 0.5 * shown_last
        expect(timeline).to_have_attribute("aria-valuetext", f"step {step:,} of {last:,}")
        assert curve(notebook, "this step", "x") == [step, step]
        notebook.screenshot("timeline", ".samviz-lab")
        timeline.press("ArrowLeft")
        notebook.until(f"lab.session.looks_back_at == {step - 1}")
        press(lab, "Step")
        notebook.until(f"lab.session.run.steps == {step} and lab.session.recorded is None and {AT_REST}")
        expect(timeline).to_have_attribute("aria-valuetext", f"step {step:,} of {step:,}")
        assert curve(notebook, "last run: loss", "x")[-1] == measured  # a slow page leaves out measurements
        timeline.press("Home")
        notebook.until(f"lab.session.looks_back_at == 0 and {AT_REST}")
        timeline.press("End")
        notebook.until(f"lab.session.looks_back_at is None and {AT_REST}")


def test_slow_motion_shows_the_parts_of_a_step(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook("slow.ipynb", SINE)
    notebook.run_all()
    lab = lab_in(notebook)
    with without_errors(notebook):
        lab.get_by_label("preset").select_option("SAM, small ρ (the theorem)")
        press(lab, "slow motion")
        notebook.until("lab.values['slow_motion']")
        press(lab, "Step")
        notebook.until(f"lab.session.run.steps == 1 and {AT_REST}")
        lab.get_by_role("button", name="slow motion", pressed=True).wait_for()
        lab.locator(".samviz-status").filter(has_text="part 4 of 4").wait_for()
        for label in ("η∇L(x)", "perturbed point", "η∇L there", "step −ηd"):
            lab.locator(".annotation-text", has_text=label).wait_for()
