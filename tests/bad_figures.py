"""The table of bad values, for what is drawn and what is touched."""

from __future__ import annotations

from typing import Any

import bad_values as bad
from bad_table import CURVE, DENSITY, FLAT, PAIRS, RECORD, SEEN, SWEEP, Case, fixed

from samviz import figures
from samviz.claims import Plot
from samviz.dynamics import History
from samviz.lab import Button, Choice, Lab, Panel, Slider, Switch, decades, quiz
from samviz.panels import slice_panel

SLIDER = {"label": "ρ", "value": 0.1, "stops": [0.0, 0.1, 1.0]}
SHARED = Lab(FLAT, lr=0.1, rho=0.1, device="cpu").run(3).share()
NO_SHARE = (None, 3, 1.5, b"samviz1:", ["text"], "", "unknown", "samviz1:1")


def draw(values: dict[str, Any]) -> Any:
    return {"data": [{"y": [0, 1]}], "layout": {}}, "It is drawn."


def lab(method: str) -> Any:
    return lambda **given: getattr(Lab(FLAT, device="cpu"), method)(**given)


FIGURES: dict[str, Case] = {
    "figures.lab_figure": Case(figures.lab_figure, None, {"frame": bad.OBJECT}),
    "figures.claim_figure": Case(figures.claim_figure, fixed(plot=Plot("a", "b", [CURVE])), {"plot": bad.OBJECT}),
    "figures.density_figure": Case(
        figures.density_figure,
        fixed(density=DENSITY, top=PAIRS),
        {"density": bad.OBJECT, "top": bad.OBJECT[1:], "run": (1, -1, 1.5, "0", None, True)},
    ),
    "figures.heatmap_figure": Case(
        figures.heatmap_figure,
        fixed(found=SWEEP),
        {"found": bad.OBJECT, "rule": (1, -1, "sam", None, 0.0), "batch_size": (1, -1, "all", None, 0.0)},
    ),
    "figures.seeds_figure": Case(
        figures.seeds_figure,
        fixed(records={"SGD": [RECORD, RECORD]}, columns=["loss"]),
        {
            "records": (None, 3, {}, [RECORD], {"SGD": [3, 3]}, {"SGD": [RECORD]}, {"SGD": [History(), History()]}),
            "columns": (None, 3, "loss", [], ["colour"]),
        },
    ),
    "figures.slice_figure": Case(
        figures.slice_figure,
        fixed(named={"bowl": SEEN}),
        {"named": (None, 3, SEEN, {}, {"bowl": 3}, {str(i): SEEN for i in range(4)})},
    ),
    "figures.probe_figure": Case(
        figures.probe_figure,
        fixed(history=RECORD),
        {"history": bad.OBJECT},
        dict.fromkeys(("densities", "rho", "budget", "changes"), "the probe's own, which has checked them"),
    ),
    "lab.decades": Case(decades, fixed(low=-1, high=1), {"low": (1, 2, 0.5, "0", None), "high": (-1, 0.5, "0", None)}),
    "lab.Slider": Case(
        Slider,
        lambda: dict(SLIDER),
        {
            "stops": (None, 3, "ab", [], [1.0], [1.0, 0.5], [0.0, 0.0], [0.0, bad.NAN], [0.0, bad.INF], ["a", "b"]),
            "low": (bad.NAN, bad.INF, "0", 2.0, True),
            "high": (bad.NAN, bad.INF, "0", -1.0, True),
            "integer": bad.FLAG,
        },
        dict.fromkeys(("value", "book"), "is checked by the panel that declares it, and by `take`")
        | {"label": "words for the reader"},
    ),
    "lab.Slider.take": Case(
        Slider(**SLIDER).take, fixed(name="rho", value=0.1), {"value": (*bad.NUMBER, -0.1, 1.1, 1e300)}, said="rho"
    ),
    "lab.Slider.take, whole": Case(
        Slider("n", 1, [1, 2, 5], integer=True).take,
        fixed(name="n", value=2),
        {"value": (*bad.COUNT, 6, 10**400)},
        said="n",
    ),
    "lab.Choice.take": Case(
        Choice("rule", "sam", {"sam": "SAM"}).take,
        fixed(name="rule", value="sam"),
        {"value": (*bad.NAME[:-2], "SAM")},
        said="rule",
    ),
    "lab.Switch.take": Case(Switch("on").take, fixed(name="on", value=True), {"value": bad.FLAG}, said="on"),
    "lab.Button.take": Case(Button("go").take, fixed(name="go", value=3), {"value": bad.STEPS}, said="go"),
    "lab.Panel": Case(
        Panel,
        fixed(draw=draw, controls={"a": Slider(**SLIDER)}, description="a line"),
        {
            "draw": bad.FUNCTION,
            "controls": (None, 3, {"a": 3}),
            "drag": (3, [0.0, 0.0]),
        },
        {"description": "words for the reader"},
    ),
    "lab.Panel.set": Case(
        lambda **given: Panel(draw, {"a": Slider(**SLIDER)}, description="a line").set(**given),
        dict,
        {"a": (*bad.NUMBER, 2.0)},
    ),
    "lab.Lab": Case(
        Lab,
        fixed(problem=FLAT, device="cpu"),
        {
            "rule": (*bad.NAME, "SAM"),
            "lr": tuple(v for v in bad.ABOVE_0 if v is not None),
            "rho": bad.AT_LEAST_0,
            "batch_size": (1, 0, -1, 1.5, "2"),
            "x0": tuple(v for v in bad.points(2) if v is not None),
            "seed": bad.SEED,
            "device": ("gpu", 2.5, None, "", "meta"),
            "dtype": ("float32", 3),
            "problem": bad.OBJECT,
            "steps_per_frame": bad.MAYBE_COUNT,
        },
    ),
    "lab.Lab.run": Case(lab("run"), fixed(n=1), {"n": bad.STEPS}),
    "lab.Lab.preset": Case(lab("preset"), fixed(name="gradient descent"), {"name": bad.NAME}, said="preset"),
    "lab.Lab.load": Case(lab("load"), fixed(text=SHARED), {"text": NO_SHARE}),
    "lab.Lab.from_share": Case(
        Lab.from_share, fixed(text=SHARED), {"text": NO_SHARE, "device": ("gpu", 2.5, None, "", "meta")}
    ),
    "lab.quiz": Case(quiz, fixed(name="alignment"), {"name": bad.NAME}, said="quiz"),
    "lab.quiz, text": Case(quiz, fixed(name="alignment"), {"answers": (None, 3, ["b"], "?" * 100)}),
    "lab.quiz, answers": Case(quiz, fixed(name="alignment"), {"answers": ("z", "B", "1", " b")}, said="answer 1"),
    "lab.Lab.export": Case(
        lambda **given: Lab(FLAT, device="cpu").run(5).export(**({"path": "page.html"} | given)),
        None,
        {"path": (*bad.PATH, "page.png", "no/such/folder/page.html"), "frames": (*bad.COUNT, 1)},
    ),
    "panels.slice_panel": Case(slice_panel, fixed(named=SEEN), {"named": (None, 3, "bowl", {}, {"bowl": 3})}),
}
