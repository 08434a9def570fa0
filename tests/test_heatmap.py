"""The heat maps of a sweep: every cell at its place, the lines of equal τ, and the marks of unreliable numbers."""

import numpy as np
import pytest

from samviz.dynamics import Sweep, sweep
from samviz.figures import figure, heatmap_figure
from samviz.problems import quadratic

LR, RHO = (0.4, 0.1, 0.2), (0.3, 0.0, 0.5)  # not sorted


def make_sweep(lr=LR, rho=RHO, seeds=(0, 1), rule=("sam",), sizes=(20,), **changes):
    """Make a sweep whose results are all 100η + ρ + seed/5, so that a number identifies its cell, and change some."""
    axes = {"rule": rule, "batch_size": sizes, "lr": lr, "rho": rho, "seed": seeds}
    _, _, eta, radius, seed = np.meshgrid(range(len(rule)), range(len(sizes)), lr, rho, seeds, indexing="ij")
    value = 100 * eta + radius + seed / 5
    names = ("loss", "grad_norm", "trace", "cos_v1", "cos_eigenspace", "rayleigh", "gap", "accuracy")
    row = {name: value.ravel().copy() for name in names}
    row |= {"eigenvalues": value.reshape(-1, 1).copy(), "residuals": np.zeros((value.size, 1))}
    row |= {"trace_error": np.zeros(value.size), "converged": np.ones(value.size, dtype=bool)}
    row |= {"diverged_at": np.full(value.size, -1)}
    row |= {"cos_eigenspace": np.full(value.size, 0.5), "accuracy": value.ravel() / 100}
    for name, change in changes.items():
        change(row[name].reshape(*value.shape, -1))
    return Sweep.of("a problem", 1000, axes, [row])


def draw(found, **indices):
    plain = heatmap_figure(found, **indices)
    figure(plain)  # plotly accepts it
    return {trace["name"]: trace for trace in plain["data"]}, plain["layout"]


def scale_ends(layout):
    """Return the two texts at the colour bar of λ₁."""
    note = next(a["text"] for a in layout["annotations"] if "<span" in a["text"])
    return [note[: note.index("<")].removeprefix("dark is better").strip(), note[note.rindex(">") + 1 :].strip()]


def number(traces, name, lr, rho):
    """Return the text of a cell."""
    return traces[f"{name} numbers"]["text"][sorted(LR).index(lr) * len(RHO) + sorted(RHO).index(rho)]


def test_every_cell_has_its_number_at_its_own_place():
    traces, layout = draw(make_sweep())
    z = traces["λ₁"]["z"]  # (lrs, rhos), increasing
    np.testing.assert_allclose(z, 100 * np.array([0.1, 0.2, 0.4])[:, None] + [0, 0.3, 0.5] + 0.1)
    assert number(traces, "λ₁", 0.4, 0.0) == "40.1"
    assert number(traces, "trace", 0.1, 0.5) == "10.6"
    assert number(traces, "test accuracy", 0.2, 0.3) == "20.4"
    assert layout["xaxis3"]["ticktext"] == ["0", "0.3", "0.5"]
    assert layout["yaxis"]["ticktext"] == ["0.1", "0.2", "0.4"]
    headings = [a["text"].split("</b>")[0] for a in layout["annotations"] if "<b>" in a["text"]]
    assert headings == ["<b>λ₁", "<b>trace", "<b>alignment", "<b>test accuracy"]
    colors = np.array(traces["λ₁ numbers"]["textfont"]["color"]).reshape(3, 3)
    assert (colors[0] == "white").all()  # low values are dark
    assert (colors[2] != "white").all()
    accuracy = np.array(traces["test accuracy numbers"]["textfont"]["color"]).reshape(3, 3)
    assert (accuracy[2] == "white").all()  # dark is always better, and here that is high
    assert (accuracy[0] != "white").all()
    assert [traces[name]["reversescale"] for name in ("λ₁", "trace", "alignment")] == [False, False, True]
    assert scale_ends(layout) == ["≤ 10.2", "≥ 40.5"]  # the 5 and 95 % quantiles
    even = draw(make_sweep(eigenvalues=lambda values: values.fill(3.0)))[1]
    assert scale_ends(even)[1] == "3.00"  # no cell lies beyond this end


def test_the_axes_are_logarithmic_and_zero_is_one_step_below_the_least():
    traces, layout = draw(make_sweep(rho=(0.0, 0.1, 1.0, 10.0)))
    np.testing.assert_allclose(layout["xaxis"]["tickvals"], [-2, -1, 0, 1])
    np.testing.assert_allclose(traces["λ₁"]["x"], [-2.5, -1.5, -0.5, 0.5, 1.5])
    np.testing.assert_allclose(layout["yaxis"]["tickvals"], np.log10([0.1, 0.2, 0.4]))
    assert traces["λ₁"]["z"].shape == (len(traces["λ₁"]["y"]) - 1, len(traces["λ₁"]["x"]) - 1)


@pytest.mark.parametrize(("lr", "rho"), [((0.1,), (0.05,)), ((0.1,), (0.0,)), ((0.1, 0.2), (0.0,))])
def test_a_single_value_has_an_axis_too(lr, rho):
    traces, layout = draw(make_sweep(lr=lr, rho=rho))
    assert np.isfinite(traces["λ₁"]["x"]).all()
    assert np.ptp(layout["xaxis"]["range"]) > 0
    assert traces["λ₁"]["zmin"] < traces["λ₁"]["zmax"]


def test_the_lines_join_cells_of_equal_tau_and_cross_no_number():
    traces, layout = draw(make_sweep(rho=(0.0, 0.01, 0.1, 1.0), lr=(0.001, 0.01, 0.1, 1.0)))
    x, y = (traces["times"][axis][np.isfinite(traces["times"]["x"])] for axis in "xy")
    taus = [
        float(a["text"].split("=")[1])
        for a in layout["annotations"]
        if "τ" in a["text"] and a["xref"] in ("x", "x domain")
    ]
    found = 10**y * 10 ** (2 * x) * 1000
    assert len(taus) >= 4
    np.testing.assert_allclose(sorted(set(10 ** np.round(np.log10(found), 6))), sorted(taus))
    assert (np.hypot(x - np.round(x), y - np.round(y)) > 0.25).all()  # cells of side 1 around whole powers
    for values, axis, margin in ((x, "xaxis", 1), (y, "yaxis", 0)):  # not on the column of ρ = 0
        low, high = layout[axis]["range"]
        assert ((values >= low + margin - 1e-9) & (values <= high + 1e-9)).all()


def test_the_indices_choose_the_rule_and_only_sam_has_lines_of_equal_tau():
    found = make_sweep(rule=("gd", "sam"), sizes=(1, 20), eigenvalues=lambda v: v[1].__imul__(2))
    sgd, sam = draw(found)[0], draw(found, rule=1, batch_size=1)[0]
    assert "times" not in sgd
    assert "times" in sam
    assert number(sgd, "λ₁", 0.2, 0.0) == "20.1"
    assert number(sam, "λ₁", 0.2, 0.0) == "40.2"


def test_cells_whose_runs_diverged_are_hatched_and_those_that_lost_some_are_marked():
    def lose(values):
        values[0, 0, 0, 1] = np.nan  # η = 0.4, ρ = 0: both seeds
        values[0, 0, 2, 0, 0] = np.nan  # η = 0.2, ρ = 0.3: one

    def diverge(values):
        values[0, 0, 0, 1], values[0, 0, 2, 0, 0] = 17, 3

    changes = dict.fromkeys(("eigenvalues", "trace", "cos_eigenspace", "accuracy"), lose)
    traces, _ = draw(make_sweep(**changes, diverged_at=diverge))
    assert number(traces, "λ₁", 0.4, 0.0) == "×"
    assert number(traces, "λ₁", 0.2, 0.3) == "20.5×"  # of the other seed
    assert np.isnan(traces["λ₁"]["z"]).sum() == 1
    for axis, (low, high) in (("x", traces["λ₁"]["x"][:2]), ("y", traces["λ₁"]["y"][2:])):
        corners = traces["test accuracy diverged"][axis][:-1]
        np.testing.assert_array_equal(np.sort(corners), [low, low, high, high])
    assert traces["test accuracy diverged"]["fillpattern"]["shape"] == "/"
    hover = traces["λ₁"]["hovertext"]
    assert hover[2][0] == "η = 0.4, ρ = 0<br>2 of 2 runs diverged"
    assert hover[1][1] == "η = 0.2, ρ = 0.3<br>λ₁ 20.5<br>ηλ₁ = 4.1<br>1 of 2 runs diverged"
    # ± is the standard error of 10 and 10.2
    assert hover[0][0] == "η = 0.1, ρ = 0<br>λ₁ 10.1 ± 0.1 (mean of 2)<br>ηλ₁ = 1.01"


def test_rough_numbers_are_marked():
    def rough_trace(values):
        values[0, 0, 0, 1, 0] = 3.0

    def not_converged(values):
        values[0, 0, 1, 1, 0] = False

    traces, _ = draw(make_sweep(trace_error=rough_trace, converged=not_converged))
    assert number(traces, "trace", 0.4, 0.0) == "≈40.1"
    assert number(traces, "λ₁", 0.4, 0.0) == "40.1"
    assert number(traces, "λ₁", 0.1, 0.0) == "≈10.1"
    assert "≈" not in "".join(traces["test accuracy numbers"]["text"])


def test_many_cells_have_no_numbers_and_a_sweep_without_results_is_drawn_empty():
    values = tuple(np.geomspace(0.01, 1, 12))
    traces, _ = draw(make_sweep(lr=values, rho=values))
    assert "λ₁ numbers" not in traces
    assert traces["λ₁"]["z"].shape == (12, 12)
    names = ("eigenvalues", "trace", "cos_eigenspace", "accuracy")
    traces, _ = draw(make_sweep(**dict.fromkeys(names, lambda values: values.fill(np.nan))))
    assert set(traces["λ₁ numbers"]["text"]) == {""}
    assert len(traces["λ₁ diverged"]["x"]) == 0


def test_without_a_test_set_the_loss_is_shown():
    found = sweep(quadratic([4.0, 1.0]), lr=[0.1, 0.3, 1.0], rho=[0.05, 0.1], steps=500, x0=[1.0, 1.0], progress=False)
    traces, layout = draw(found)
    assert any(note["text"].startswith("<b>loss") for note in layout["annotations"])
    lr, rho = np.array([[0.1], [0.3]]), np.array([0.05, 0.1])
    size = 4 * lr * rho / (2 - 4 * lr)  # Theorem 4.8
    np.testing.assert_allclose(10 ** traces["loss"]["z"][:2], 2 * size**2, rtol=1e-6)
    assert traces["loss numbers"]["text"][-2:] == ["×", "×"]
