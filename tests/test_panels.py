"""Every panel of `samviz.panels`: its figure, its sentence, its description, and the values that the book computes."""

import inspect
import pkgutil
import re
from importlib import import_module

import pytest
from pictures import finite, names, settled_panel

import samviz.panels
from samviz.figures import figure
from samviz.lab import Choice, Slider, Switch
from samviz.lab.controls import Point


def test_every_panel_is_registered():
    found = set()
    for module in pkgutil.iter_modules(samviz.panels.__path__, "samviz.panels."):
        functions = inspect.getmembers(import_module(module.name), inspect.isfunction)
        found |= {
            name for name, function in functions if function.__module__ == module.name and name.endswith("_panel")
        }
    missing = found - set(samviz.panels.__all__)
    assert not missing, f"import {', '.join(sorted(missing))} in samviz/panels/__init__.py"
    assert len(found) > 9


@pytest.fixture(scope="module", params=samviz.panels.__all__)
def panel(request):
    return settled_panel(request.param)


def test_a_panel_draws_a_figure_with_a_sentence_and_a_description(panel):
    finite(panel.figure, gaps=names(panel.figure))
    figure(panel.figure)  # plotly accepts it
    assert "nan" not in panel.sentence
    assert panel.sentence.endswith(".")
    assert panel.view.description
    for control in panel.view.controls:
        assert control["help"].endswith(".") != control["kind"].startswith(("point", "predict")), control["name"]


def extremes(panel):
    """Yield the ends of all controls together, and each end and each option of one control alone."""
    ends = {}
    for name, control in panel.controls.items():
        if isinstance(control, Slider):
            ends[name] = [control.low, control.high]
        elif isinstance(control, Choice):
            ends[name] = [*control.options]
        elif isinstance(control, Switch):
            ends[name] = [False, True]
        elif isinstance(control, Point):
            ends[name] = [(-9.0, 9.0), (0.0, 0.0)]
    yield {name: values[0] for name, values in ends.items()}
    yield {name: values[-1] for name, values in ends.items()}
    yield from ({name: value} for name, values in ends.items() for value in values)


def test_extreme_values_are_drawn(panel):
    """No number is infinite, but curves may have gaps; a run that diverges may be an error with a remedy."""
    start = panel.values
    for values in extremes(panel):
        panel.set(**start | values)
        assert panel.view.alert == "" or re.search("diverged.*Lower [ηρ]", panel.view.alert), values
        finite(panel.figure, gaps=names(panel.figure))
        assert "nan" not in panel.sentence, values
    panel.set(**start)


def test_the_book_computes_values_that_the_controls_can_have(panel):
    """The start value must be among the computed values: the book shows it first."""
    for name, control in panel.controls.items():
        if values := list(getattr(control, "book", ())):
            assert [control.take(name, value) for value in values] == values
            assert len(set(values)) == len(values)
            assert control.value in values, f"add the start value of {name!r} to its values for the book"


def test_a_value_that_a_control_cannot_have_is_refused(panel):
    for name in panel.controls:
        with pytest.raises(ValueError, match=f"{name} is 'nonsense'; expected"):
            panel.set(**{name: "nonsense"})
