"""Every panel of `samviz.panels`: its figure, its sentence, its description, and the values that the book computes."""

import inspect
import pkgutil
from importlib import import_module

import pytest
from pictures import finite, names, settled_panel

import samviz.panels
from samviz.figures import figure


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
