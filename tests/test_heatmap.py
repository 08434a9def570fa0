"""The heat maps of a sweep: every cell in its place, the lines of equal τ, and what could mislead is marked."""

import numpy as np
import pytest

from samviz.dynamics import Sweep, sweep
from samviz.dynamics.sweep import AXES
from samviz.figures import figure, heatmap_figure
from samviz.problems import quadratic

LR, RHO = (0.4, 0.1, 0.2), (0.3, 0.0, 0.5)  # in no order


def made(lr=LR, rho=RHO, seeds=(0, 1), rule=("sam",), sizes=(20,), **changes):
    """A sweep whose λ₁ is 100η + ρ + seed/5, and so on: a cell can be told from its number."""
    axes = dict(zip(AXES, (rule, sizes, lr, rho, seeds)))
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


def drawn(found, **more):
    plain = heatmap_figure(found, **more)
    figure(plain)  # plotly accepts it
    return {trace["name"]: trace for trace in plain["data"]}, plain["layout"]


def number(traces, name, lr, rho):
    """What is written in a cell."""
    written = traces[f"{name} numbers"]
    i = sorted(LR).index(lr) * len(RHO) + sorted(RHO).index(rho)
    return written["text"][i]


def test_every_cell_has_its_number_at_its_own_place():
    traces, layout = drawn(made())
    z = traces["λ₁"]["z"]  # (lrs, rhos), increasing
    np.testing.assert_allclose(z, 100 * np.array([0.1, 0.2, 0.4])[:, None] + [0, 0.3, 0.5] + 0.1)
    assert number(traces, "λ₁", 0.4, 0.0) == "40.1"
    assert number(traces, "trace", 0.1, 0.5) == "10.6"
    assert number(traces, "test accuracy", 0.2, 0.3) == "20.4"
    assert layout["xaxis3"]["ticktext"] == ["0", "0.3", "0.5"]
    assert layout["yaxis"]["ticktext"] == ["0.1", "0.2", "0.4"]
    assert [a["text"].split("</b>")[0] for a in layout["annotations"] if "<b>" in a["text"]] == [
        "<b>λ₁", "<b>trace", "<b>alignment", "<b>test accuracy",
    ]  # fmt: skip


def test_the_axes_are_logarithmic_with_zero_one_step_before():
    traces, layout = drawn(made(rho=(0.0, 0.1, 1.0, 10.0)))
    np.testing.assert_allclose(layout["xaxis"]["tickvals"], [-2, -1, 0, 1])
    np.testing.assert_allclose(traces["λ₁"]["x"], [-2.5, -1.5, -0.5, 0.5, 1.5])
    np.testing.assert_allclose(layout["yaxis"]["tickvals"], np.log10([0.1, 0.2, 0.4]))
    assert traces["λ₁"]["z"].shape == (len(traces["λ₁"]["y"]) - 1, len(traces["λ₁"]["x"]) - 1)


@pytest.mark.parametrize(("lr", "rho"), [((0.1,), (0.05,)), ((0.1,), (0.0,)), ((0.1, 0.2), (0.0,))])
def test_a_single_value_is_an_axis_too(lr, rho):
    traces, layout = drawn(made(lr=lr, rho=rho))
    assert np.isfinite(traces["λ₁"]["x"]).all()
    assert np.ptp(layout["xaxis"]["range"]) > 0
    assert traces["λ₁"]["zmin"] < traces["λ₁"]["zmax"]


def test_the_lines_join_cells_of_equal_tau():
    found = made(rho=(0.0, 0.01, 0.1, 1.0), lr=(0.001, 0.01, 0.1, 1.0))
    traces, layout = drawn(found)
    line = traces["times"]
    x, y = line["x"].reshape(-1, 3)[:, :2], line["y"].reshape(-1, 3)[:, :2]
    named = [float(a["text"].split("=")[1]) for a in layout["annotations"] if a["yref"] == "y" or a["xref"] == "x"]
    assert len(named) == len(x) >= 4
    np.testing.assert_allclose(10**y * 10 ** (2 * x) * 1000, np.array(named)[:, None] * [1, 1])
    low, high = layout["xaxis"]["range"]
    assert ((x >= low + 1 - 1e-9) & (x <= high + 1e-9)).all()  # not over the column of ρ = 0
    low, high = layout["yaxis"]["range"]
    assert ((y >= low - 1e-9) & (y <= high + 1e-9)).all()


def test_other_rules_have_no_tau():
    found = made(rule=("gd", "sam"), sizes=(1, 20))
    assert "times" not in drawn(found)[0]
    assert "times" in drawn(found, rule=1, batch_size=1)[0]
    other = made(rule=("gd", "sam"), eigenvalues=lambda v: v[1].__imul__(2))
    assert number(drawn(other, rule=1)[0], "λ₁", 0.2, 0.0) == "40.2"
    assert number(drawn(other)[0], "λ₁", 0.2, 0.0) == "20.1"


def test_what_has_diverged_is_hatched_and_marked():
    def lose(values):
        values[0, 0, 0, 1] = np.nan  # η = 0.4, ρ = 0: both seeds
        values[0, 0, 2, 0, 0] = np.nan  # η = 0.2, ρ = 0.3: one

    def tell(values):
        values[0, 0, 0, 1], values[0, 0, 2, 0, 0] = 17, 3

    changes = dict.fromkeys(("eigenvalues", "trace", "cos_eigenspace", "accuracy"), lose)
    traces, _ = drawn(made(**changes, diverged_at=tell))
    assert number(traces, "λ₁", 0.4, 0.0) == "×"
    assert number(traces, "λ₁", 0.2, 0.3) == "20.5×"  # the other seed's
    assert np.isnan(traces["λ₁"]["z"]).sum() == 1
    hatched = traces["test accuracy diverged"]
    ends = hatched["x"].reshape(-1, 3)[:, :2], hatched["y"].reshape(-1, 3)[:, :2]
    edges = traces["λ₁"]["x"][:2], traces["λ₁"]["y"][2:]
    for coordinates, (low, high) in zip(ends, edges):
        assert len(coordinates) > 5
        assert coordinates.min() >= low - 1e-9
        assert coordinates.max() <= high + 1e-9
        assert np.ptp(coordinates) > 0.8 * (high - low)
    told = traces["λ₁"]["hovertext"]
    assert told[2][0] == "η = 0.4, ρ = 0<br>2 of 2 runs diverged"
    assert told[1][1] == "η = 0.2, ρ = 0.3<br>λ₁ 20.5<br>ηλ₁ = 4.1<br>1 of 2 runs diverged"
    assert (
        told[0][0] == "η = 0.1, ρ = 0<br>λ₁ 10.1 ± 0.1 (mean of 2)<br>ηλ₁ = 1.01"
    )  # the standard error of 10 and 10.2


def test_what_is_not_known_well_is_marked():
    def shake(values):
        values[0, 0, 0, 1, 0] = 3.0

    def doubt(values):
        values[0, 0, 1, 1, 0] = False

    traces, _ = drawn(made(trace_error=shake, converged=doubt))
    assert number(traces, "trace", 0.4, 0.0) == "≈40.1"
    assert number(traces, "λ₁", 0.4, 0.0) == "40.1"
    assert number(traces, "λ₁", 0.1, 0.0) == "≈10.1"
    assert "≈" not in "".join(traces["test accuracy numbers"]["text"])


def test_words_are_white_on_dark_cells_alone():
    traces, _ = drawn(made())
    colors = np.array(traces["λ₁ numbers"]["textfont"]["color"]).reshape(3, 3)
    assert (colors[0] == "white").all()  # low is dark
    assert (colors[2] != "white").all()


def test_many_cells_leave_no_room_for_numbers():
    traces, _ = drawn(made(lr=tuple(np.geomspace(0.01, 1, 12)), rho=tuple(np.geomspace(0.01, 1, 12))))
    assert "λ₁ numbers" not in traces
    assert traces["λ₁"]["z"].shape == (12, 12)


def test_before_anything_is_known():
    def forget(values):
        values[:] = np.nan

    traces, _ = drawn(made(eigenvalues=forget, trace=forget, cos_eigenspace=forget, accuracy=forget))
    assert set(traces["λ₁ numbers"]["text"]) == {""}
    assert len(traces["λ₁ diverged"]["x"]) == 0


def test_without_a_test_set_the_loss_is_shown():
    found = sweep(quadratic([4.0, 1.0]), lr=[0.1, 0.3, 1.0], rho=[0.05, 0.1], steps=500, x0=[1.0, 1.0], progress=False)
    traces, layout = drawn(found)
    assert layout["annotations"][-1]["text"].startswith("<b>loss")
    lr, rho = np.array([[0.1], [0.3]]), np.array([0.05, 0.1])
    size = 4 * lr * rho / (2 - 4 * lr)  # Theorem 4.8
    np.testing.assert_allclose(10 ** traces["loss"]["z"][:2], 2 * size**2, rtol=1e-6)
    assert traces["loss numbers"]["text"][-2:] == ["×", "×"]
