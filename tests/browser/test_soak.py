"""A seeded monkey plays two labs in a real JupyterLab: nothing fails, nothing grows, nothing queues.

SAMVIZ_SOAK_SECONDS is how long, 60 unless it is set; `make soak` takes ten minutes.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from random import Random
from time import monotonic
from typing import Any

import pytest

from samviz.lab.widget import MAX_IN_FLIGHT

from .conftest import Notebook
from .pages import drag, middle
from .panels import open_more, press, wait

SECONDS = float(os.environ.get("SAMVIZ_SOAK_SECONDS", "60"))
WARM = min(60.0, SECONDS / 3)  # when the measuring begins
GROWTH = 0.05
NAMES = ("lab", "other")
CELLS = [
    """import ctypes, gc, sys, threading, psutil
from samviz.lab import Lab
from samviz.problems import mlp
me = psutil.Process()
trim = ctypes.CDLL("libc.so.6").malloc_trim if sys.platform == "linux" else lambda pad: None
""",
    # in one cell, since JupyterLab itself leaks 810 listeners whenever another cell becomes the active one
    "lab = Lab(mlp([1, 8, 8, 1], data='sine'), rho=0.01)\n"
    "other = Lab(mlp([2, 12, 12, 1], data='spirals'), rho=0.01)\ndisplay(lab, other)",
]
# Freed memory is first returned to the system: glibc keeps some 15 MB of it after a few minutes of random moves,
# while what is in use stays the same within 1 %.
SAMPLE = (
    "(gc.collect(), trim(0), me.memory_info().rss, threading.active_count(), me.num_threads(),"
    " [view._ack for view in (lab.view, other.view)], [it.session.run.steps for it in (lab, other)])[2:]"
)
IN_FLIGHT = "[view._seq - view._ack for view in (lab.view, other.view)]"
FAILED = re.compile(r"\w*(Error|Exception)|Interrupted|The picture cannot|The kernel of")
SLIDERS = "ρ radius", "η learning rate", "batch size"
TEXTS = "0", "0.005", "0.02", "0.1", "1", "3", "7", "abc", "-1", "1e9", ""


class Monkey:
    """Makes random moves, as a learner might, and records the alerts that it reads."""

    def __init__(self, notebook: Notebook, seed: int) -> None:
        self.page, self.random = notebook.page, Random(seed)
        self.labs = [self.page.locator(".samviz-lab").nth(number) for number in range(len(NAMES))]
        self.alerts: set[str] = set()

    def move(self) -> None:
        """Make one move in one of the labs; if an alert mentions Reset, press it."""
        lab = self.random.choice(self.labs)
        alert = lab.locator(".samviz-alert").inner_text()
        self.alerts |= {alert} - {""}
        if "press Reset" in alert:
            lab.get_by_label("preset").select_option(index=1)
            press(lab, "Reset")
            lab.locator(".samviz-play").click()
            return
        moves = [self.drag, self.typed, self.choice, self.click, self.scroll]
        self.random.choices(moves, [3, 2, 1, 2, 1])[0](lab)

    def drag(self, lab: Any) -> None:
        slider = lab.get_by_role("slider", name=self.random.choice(SLIDERS), exact=True)
        slider.evaluate("node => node.scrollIntoView({ block: 'center' })")  # does not wait for the page to rest
        box, (_, y) = slider.bounding_box(), middle(slider)
        start, end = ((box["x"] + box["width"] * self.random.uniform(0.05, 0.85), y) for _ in range(2))
        drag(self.page, start, end, steps=self.random.randint(3, 30))

    def typed(self, lab: Any) -> None:
        field = lab.get_by_label(self.random.choice([*(f"{slider}, typed" for slider in SLIDERS), "seed"]), exact=True)
        field.fill(self.random.choice(TEXTS))
        field.press(self.random.choice(["Enter", "Tab"]))

    def choice(self, lab: Any) -> None:
        select = lab.get_by_label(self.random.choice(["rule", "plane", "preset", "steps per frame"]), exact=True)
        options = select.locator("option:not([disabled])").evaluate_all("nodes => nodes.map(option => option.value)")
        select.select_option(self.random.choice(options))

    def click(self, lab: Any) -> None:
        ghost = lab.get_by_label("ghost of the last run")
        buttons = [lab.get_by_role("button", name=name, exact=True) for name in ("Step", "Reset", "Re-centre")]
        self.random.choice([*buttons, ghost, lab.locator(".samviz-play")]).click()

    def scroll(self, lab: Any) -> None:
        self.page.locator(".jp-Cell").first.evaluate("node => node.scrollIntoView()")  # the labs leave the view
        self.page.wait_for_timeout(self.random.randint(100, 1500))
        lab.evaluate("node => node.scrollIntoView()")


class Watch:
    """Measures the kernel and the page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.began = notebook, monotonic()
        self.cdp = notebook.page.context.new_cdp_session(notebook.page)
        self.cdp.send("Performance.enable")
        self.samples: list[dict[str, float]] = []

    def seconds(self) -> float:
        return monotonic() - self.began

    def sample(self) -> None:
        """Measure what must not grow: the kernel's memory and threads, the page's heap, nodes and listeners."""
        self.cdp.send("HeapProfiler.collectGarbage")
        page = {metric["name"]: metric["value"] for metric in self.cdp.send("Performance.getMetrics")["metrics"]}
        rss, python, threads, frames, steps = self.notebook.kernel(SAMPLE)
        numbers = {"at": self.seconds(), "frames": sum(frames), "steps": sum(steps)}
        numbers |= {"kernel RSS, MB": rss / 1e6, "JS heap, MB": page["JSHeapUsedSize"] / 1e6}
        numbers |= {"DOM nodes": page["Nodes"], "event listeners": page["JSEventListeners"]}
        self.samples.append(numbers | {"threads of Python": python, "threads": threads})
        print({name: round(value, 1) for name, value in self.samples[-1].items()}, flush=True)

    def ends(self, name: str) -> tuple[float, float]:
        """Return the smallest of the first and of the last quarter: the copy of a picture comes and goes."""
        measured = [sample[name] for sample in self.samples if sample["at"] >= WARM]
        quarter = max(1, len(measured) // 4)
        return min(measured[:quarter]), min(measured[-quarter:])


def try_everything(notebook: Notebook, monkey: Monkey) -> None:
    """Use every rule, plane and preset once: what is compiled or loaded for them is no leak."""
    for lab in monkey.labs:
        lab.locator(".samviz-play").click()
        for name in ("rule", "plane", "preset"):
            select = lab.get_by_label(name, exact=True)
            for value in select.locator("option:not([disabled])").evaluate_all("nodes => nodes.map(o => o.value)"):
                select.select_option(value)
                notebook.page.wait_for_timeout(300)


def answers(notebook: Notebook, lab: Any, name: str) -> None:
    """A lab resets, plays and pauses."""
    if notebook.kernel(f"{name}.view.playing"):
        press(lab, "Pause")
    notebook.kernel(f"{name}.set(rule='sam', lr=0.05, rho=0.01)")
    press(lab, "Reset")
    notebook.until(f"{name}.session.run.steps == 0")
    press(lab, "Play")
    notebook.until(f"{name}.session.run.steps > 20")
    press(lab, "Pause")
    lab.locator(".samviz-status").filter(has_text="paused").wait_for()
    notebook.until(f"{name}.view._seq == {name}.view._ack")


@pytest.mark.timeout(4 * SECONDS + 300)
def test_a_monkey_plays_two_labs(
    open_notebook: Callable[..., Notebook], record_property: Callable[[str, object], None]
) -> None:
    """Takes long because it looks for what grows with time: a minute of play, after every rule and plane."""
    notebook = open_notebook("soak.ipynb", CELLS)
    console: list[str] = []
    notebook.page.on("console", lambda message: console.append(message.text) if message.type == "error" else None)
    notebook.run_all()
    wait(notebook, "[0, 1].every(i => document.querySelectorAll('.samviz-graph')[i]?.data?.length > 3)")
    monkey = Monkey(notebook, 0)
    for lab in monkey.labs:
        open_more(lab)
    try_everything(notebook, monkey)
    watch, in_flight, next_sample = Watch(notebook), Counter[int](), 0.0
    while watch.seconds() < SECONDS:
        monkey.move()
        in_flight.update(notebook.kernel(IN_FLIGHT))
        if watch.seconds() >= next_sample:
            watch.sample()
            next_sample = watch.seconds() + min(5.0, SECONDS / 40)
        notebook.page.wait_for_timeout(monkey.random.randint(100, 600))
    watch.sample()
    for lab, name in zip(monkey.labs, NAMES):
        answers(notebook, lab, name)

    growing = "kernel RSS, MB", "JS heap, MB", "DOM nodes", "event listeners", "threads of Python", "threads"
    ends = {name: watch.ends(name) for name in growing}
    found = {"frames": watch.samples[-1]["frames"], "in flight": dict(in_flight)}
    for name, value in (found | ends | {"alerts": sorted(monkey.alerts), "console": console}).items():
        record_property(name, str(value))
        print(f"{name}: {value}")
    assert notebook.errors == []
    assert console == []
    assert [alert for alert in monkey.alerts if FAILED.match(alert)] == []
    for name, (early, late) in ends.items():
        allowed = early if "threads" in name else early * (1 + GROWTH)
        assert late <= allowed, f"{name} grew from {early:.1f} to {late:.1f}"
    assert max(in_flight) <= MAX_IN_FLIGHT
