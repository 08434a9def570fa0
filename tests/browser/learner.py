"""A learner who uses every control of a lab or a panel in random order, and what must hold meanwhile and at rest.

All choices and waits follow from SAMVIZ_SEED (0 unless it is set) and from the names of the controls, and not from the
time that anything takes. The controls are found in the page, so that new ones are used as well.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from .conftest import Notebook

SEED = os.environ.get("SAMVIZ_SEED", "0")
SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
LONGEST_WAIT_MS, REST_MS = 300, 400  # between two actions, and before looking whether all is at rest
REST_S = 120.0  # a panel may compute for so long
ACTIONS_BETWEEN_RESTS = 15
KEYS = "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"
TEXTS = "0", "0.005", "0.02", "0.05", "0.1", "0.3", "1", "1,5", "3", "12", "abc", "-1", "1e9", ""
JUPYTERS_OWN = re.compile(  # errors of the page that are not samviz's
    r"favicon|ResizeObserver loop|reading 'schema'|'filebrowser:open-path' not registered|"
    r"cdn\.jsdelivr\.net/npm/@fortawesome|voila/labextensions|voila/api/shutdown"
)
DIVERGED = r"The runs? diverged.*|.*The history is kept; lower η and press Reset\."
ANSWERS = {  # the alert that an action may cause, by a pattern of its name
    "this run as text": r"text (is|contains) .*",
    "Show the answer|^number": r"(Choose one of the answers|Enter a number.*) first, or skip the question\.",
    "interrupt": r"Interrupted; (press Play to continue|move a control to draw again)\.",
    "plane": r".*span no plane.*",
    "3-D": r"This browser offers no WebGL.*",
}
DATA = "(card) => JSON.stringify(card.querySelector('.samviz-graph').data)"
STATE = """(lambda it: {
    'rests': it.scheduler.idle and it.view._seq == it.view._ack and not getattr(it.view, 'playing', False),
    'status': it.view.sentence, 'alert': it.view.alert, 'asks': it.values.get('guess', '') is None,
    'values': {control.label: it.values[name] for name, control in it.controls.items() if name != 'guess'},
    'stopped': getattr(getattr(it, 'session', None), 'stopped', ''),
})"""
SHARE = "(lambda it: type(it)(it._original_problem, rho=0.05, lr=0.05, device='cpu').run(200).share())"


class Learner:
    """Uses the cards of a page, and records what happens."""

    def __init__(self, notebook: Notebook, replay: str) -> None:
        self.notebook, self.page, self.replay = notebook, notebook.page, replay
        self.began, self.actions = monotonic(), 0
        self.log: list[str] = []
        self.console: list[str] = []
        self.page.on("console", self.hear)
        start = f"window.learner = {SCRIPT}; learner.watch()"
        self.page.add_init_script(start)
        self.page.evaluate(start)

    def hear(self, message: Any) -> None:
        """Keep an error of the console with the address of the script or resource."""
        if message.type == "error":
            self.console.append(f"{message.text} ({message.location.get('url')})")

    def use(self, number: int, name: str, actions: int, also: dict[str, Callable[[], None]]) -> None:
        """Use the card with that number, which has that name in the kernel, so many times, and all its controls.

        `also` has what is used in the same way as a control: a reload of the page, an interrupt of the kernel.
        """
        self.card, self.name, self.also = self.page.locator(".samviz-card").nth(number), name, also
        self.expected: set[str] = set()
        try:
            self._use(actions)
        except Exception as error:
            log = "\n".join(self.log)
            raise AssertionError(f"{error}\nThe actions:\n{log}\nReplay: SAMVIZ_SEED={SEED} {self.replay}") from error

    def _use(self, actions: int) -> None:
        self.card.scroll_into_view_if_needed()
        self.card.locator(".main-svg").first.wait_for()
        self.rest()
        self.shared = self.notebook.kernel(f"{SHARE}({self.name})") if self.plays() else ""
        known = required = {*self.find(), *self.also}
        tried, used, last = Counter[str](), set[str](), self.actions + actions
        for turn in range(10 * actions):
            random = Random(f"{SEED} {self.name} {turn}")
            order = {name: Random(f"{SEED} {self.name} {turn} {name}").random() for name in sorted(known)}
            name = min(order, key=lambda each: (tried[each], order[each]))  # of those that were used the fewest times
            tried[name] += 3 if name in self.also else 1  # they take long
            if self.act(name, random):
                used.add(name)
                self.actions += 1
                if self.actions % ACTIONS_BETWEEN_RESTS == 0:
                    self.rest()
                known = known | {*self.find()}
            if self.actions >= last and used >= required:
                break
        self.rest()
        assert used >= required, f"these controls could not be used: {sorted(required - used)}"

    def find(self) -> dict[str, dict[str, Any]]:
        """Return the controls of the card by name."""
        return {each["name"]: each for each in self.card.evaluate("(card) => learner.find(card)")}

    def look(self) -> dict[str, Any]:
        """Return what the card shows; fail if something went wrong since the last look."""
        shown: dict[str, Any] = self.card.evaluate("(card) => learner.look(card)")
        faults = [alert for alert in shown["alerts"] if not re.fullmatch("|".join(self.expected), alert)]
        faults += [each for each in (*self.console, *self.notebook.errors) if not JUPYTERS_OWN.search(each)]
        faults += [shown["wrong"]] if shown["wrong"] else []
        assert not faults, faults
        return shown

    def plays(self) -> bool:
        """Return whether the card is a lab."""
        return bool(self.card.locator(".samviz-play:has-text('Play'), .samviz-play:has-text('Pause')").count())

    def act(self, name: str, random: Random) -> bool:
        """Wait, use one control, and look at the card; return whether the control could be used."""
        wait = random.randint(0, LONGEST_WAIT_MS)
        control = self.also.get(name) or self.reveal(name)
        if control is None:
            return False
        self.page.wait_for_timeout(wait)
        self.expected |= {alert for pattern, alert in ANSWERS.items() if re.search(pattern, name)}
        if callable(control):
            self.record(wait, name)
            control()
        else:
            try:
                self.handle(control, random, lambda how: self.record(wait, f"{name} {how}"))
            except Exception as error:
                if "not attached to the DOM" not in str(error):  # plotly has replaced its buttons meanwhile
                    raise
                return False
        self.look()
        return True

    def record(self, wait: int, action: str) -> None:
        """Add an action to the log."""
        self.log.append(f"{monotonic() - self.began:7.2f} s {self.name}: after {wait} ms, {action}")

    def node(self, index: int) -> Any:
        """Return an element of the card, after the mouse has left the last one, whose explanation may cover it."""
        box = self.card.bounding_box()
        self.page.mouse.move(box["x"] + 2, box["y"] + 2)
        return self.card.evaluate_handle("(card, index) => learner.nodes(card)[index]", index).as_element()

    def reveal(self, name: str) -> dict[str, Any] | None:
        """Return a control, after pressing what shows or enables it; None if it cannot be used now."""
        for _ in range(3):
            controls = self.find()
            control = controls.get(name)
            if control is None or control["usable"]:
                return control
            if control["opener"] < 0:
                return None
            self.record(0, f"to reach {name}, {[*controls][control['opener']]}")
            self.node(control["opener"]).click()
        return None

    def handle(self, control: dict[str, Any], random: Random, record: Callable[[str], None]) -> None:
        """Use a control as its role allows."""
        node, role, mouse = self.node(control["index"]), control["role"], self.page.mouse
        if role in ("range", "draggable point") and random.random() < 0.5:
            keys = random.choices(KEYS[:4] if role != "range" else KEYS, k=random.randint(1, 4))
            record(" ".join(keys))
            for key in keys:
                node.press(key)
        elif role in ("range", "draggable point", "graph"):
            node.scroll_into_view_if_needed()
            areas = node.query_selector_all(".nsewdrag, canvas") if role == "graph" else [node]
            box = random.choice(areas).bounding_box()
            ends = [[random.uniform(0.05, 0.95), random.uniform(0.05, 0.95)] for _ in range(2)]
            if role == "draggable point":
                ends = [[0.5, 0.5], [random.uniform(-9, 9), random.uniform(-9, 9)]]  # in diameters of the handle
            (x, y), (to_x, to_y) = (
                [box["x"] + box["width"] * right, box["y"] + box["height"] * down] for right, down in ends
            )
            how = random.choice(["double-click", "drag", "click", "hover"]) if role == "graph" else "drag"
            record(f"{how} from ({x:.0f}, {y:.0f}) to ({to_x:.0f}, {to_y:.0f})")
            mouse.move(x, y)
            if how == "drag":
                mouse.down()
                mouse.move(to_x, to_y, steps=random.randint(1, 8))
                mouse.up()
            elif how != "hover":
                mouse.click(x, y, click_count=2 if how == "double-click" else 1)
        elif role in ("text", "number"):
            texts = [self.shared, "samviz1:nonsense"] if "as text" in control["name"] else TEXTS
            text = random.choice([each for each in texts if role == "text" or each not in ("abc", "1,5")])
            record(f"{text!r:.40}")
            node.fill(text)
            node.press("Enter")
        elif role == "select-one":
            record(option := random.choice(control["options"]))
            node.select_option(option)
        else:
            record("click")
            node.click()

    def rest(self) -> None:
        """Pause, wait until page and kernel agree, and draw again: neither the status nor the figure changes."""
        self.page.wait_for_timeout(REST_MS)
        state, shown = self.agreed()
        if self.plays():
            data = self.card.evaluate(DATA)
            self.notebook.kernel(f"{self.name}.scheduler.redraw()")
            self.page.wait_for_timeout(REST_MS)
            _, again = self.agreed()
            assert again["status"] == shown["status"], f"outdated status: {shown['status']}; now {again['status']}"
            assert self.card.evaluate(DATA) == data, "the figure was outdated"
        self.expected = {re.escape(state["alert"]), DIVERGED}
        if state["stopped"]:
            self.record(0, "after a divergence: preset, Reset")
            self.card.get_by_label("preset").select_option(index=1)
            self.card.get_by_role("button", name="Reset", exact=True).dispatch_event("click")
            self.page.wait_for_timeout(REST_MS)
            self.agreed()

    def agreed(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Wait until the page shows the state of the kernel at rest; return both."""
        deadline = monotonic() + REST_S
        while True:
            state, shown = self.notebook.kernel(f"{STATE}({self.name})"), self.look()
            if shown["playing"]:
                self.record(0, "to rest, Pause")
                self.card.locator(".samviz-play").first.dispatch_event("click")  # also if a dialog covers it
            faults = [] if state["rests"] else ["the kernel does not rest"]
            faults += [
                f"{key} is {shown[key]!r} in the page and {state[key]!r} in the kernel"
                for key in ("alert", "asks")
                if shown[key] != state[key] and not re.match("This (browser|page)", str(shown[key]))  # the page's own
            ]
            if not without_spaces(shown["status"]).endswith(without_spaces(state["status"])):
                faults.append(f"the page says {shown['status']!r}, the kernel {state['status']!r}")
            for control in self.find().values():
                value = state["values"].get(control["label"])
                if value is not None and control["value"] is not None and not same(control["value"], value):
                    faults.append(f"{control['name']} is {control['value']!r} in the page and {value!r} in the kernel")
            if not faults:
                return state, shown
            assert monotonic() < deadline, faults
            self.page.wait_for_timeout(100)


def without_spaces(text: str) -> str:
    """Return a text without spaces and line breaks."""
    return "".join(text.split())


def same(shown: Any, value: Any) -> bool:
    """Return whether a control shows a value of the kernel."""
    if isinstance(value, bool | str):
        return bool(shown == value)
    return shown.startswith(f"step {value:,} of") or float(shown.split()[0]) == value
