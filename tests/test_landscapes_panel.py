"""The panel of loss landscapes against the loss itself and dense Hessians."""

import numpy as np
import pytest
import torch
from pictures import trace

from samviz.figures import slice_figure
from samviz.geometry import landscape, landscape_of, plane_through
from samviz.panels import slice_panel
from samviz.panels.landscape_planes import NAMES, PLANES, draw_landscapes, minima, rescaled, slices, trained
from samviz.problems import mlp, quadratic

START = {"radius": 0.5, "alpha": 1.0, "plane": "random", "normalized": True, "seed": 0}


def eigenvalues(problem, x):
    hessian = torch.autograd.functional.hessian(lambda v: problem.loss(v[None])[0], x)
    return np.linalg.eigvalsh(hessian.numpy())[::-1]


@pytest.mark.parametrize("which", [0, 1])
def test_both_are_minima_and_their_eigenvalues_are_those_of_the_dense_hessian(which):
    problem, checkpoints = trained()
    x = checkpoints[which, -1]
    np.testing.assert_allclose(minima(1.0)[1][which].values[0], eigenvalues(problem, x)[:2], rtol=1e-8)
    assert problem.gradient(x[None])[1].norm() < 0.01
    assert problem.loss(x[None]) < 0.01 * problem.loss(checkpoints[which, :1])


@pytest.mark.parametrize("alpha", [0.25, 3.0])
def test_a_rescaled_network_is_the_same_function_with_a_hessian_divided_by_the_scales(alpha):
    problem = mlp([1, 4, 3, 1], "relu")
    x = problem.initial(1)
    scaled = rescaled(problem, x, alpha)
    inputs = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    torch.testing.assert_close(problem.outputs(scaled[None], inputs), problem.outputs(x[None], inputs))
    scale = torch.ones(problem.dim, dtype=torch.float64)
    scale[:8], scale[8:20] = alpha, 1 / alpha
    expected = problem.hessian(x[None])[0] / torch.outer(scale, scale)
    torch.testing.assert_close(problem.hessian(scaled[None])[0], expected)


def test_only_filter_normalization_undoes_the_rescaling():
    for normalized in (True, False):
        before, after = (slices("random", alpha, normalized, 0, 0.5)["SAM"].loss for alpha in (1.0, 8.0))
        assert np.allclose(before, after, rtol=1e-9, atol=0) == normalized
    low, high = (slices("hessian", alpha, False, 0, 0.01)["SAM"].loss for alpha in (1.0, 8.0))
    assert high[20, 40] - high[20, 20] > 10 * (low[20, 40] - low[20, 20])


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", PLANES)
def test_every_plane_goes_through_its_minimum_and_shows_the_loss(kind, which):
    problem, checkpoints = trained()
    shown = slices(kind, 1.0, kind == "random", 3, 0.5)[NAMES[which]]
    assert torch.equal(shown.plane.origin, checkpoints[which, -1])
    for row, column in ((20, 20), (0, 7), (33, 40)):
        first, second = shown.plane.directions
        point = shown.plane.origin + shown.axis1[column] * first + shown.axis2[row] * second
        assert shown.loss[row, column] == pytest.approx(problem.loss(point[None]).item(), rel=1e-9)


def test_both_planes_have_the_same_contours_and_the_sentence_gives_the_numbers_of_the_figure():
    drawn, sentence = draw_landscapes(START | {"plane": "pca"})
    problem, checkpoints = trained()
    offset = (checkpoints[1] - checkpoints[1, -1]).numpy()
    components = np.linalg.svd(offset - offset.mean(0), full_matrices=False)[2][:2]
    off = offset[0] - components.T @ (components @ offset[0])
    assert f"{np.linalg.norm(off) / np.linalg.norm(offset[0]):.1%} of the distance to SAM’s start" in sentence
    assert f"the loss there is {problem.loss(checkpoints[1, :1]).item():.2g}" in sentence
    loss = trace(drawn, "SAM along d₁")["y"]
    assert loss[20] == pytest.approx(problem.loss(checkpoints[1, -1:]).item(), rel=1e-9)
    path = trace(drawn, "SAM path")
    np.testing.assert_allclose(np.abs(path["x"]), np.abs(offset @ components[0]), atol=1e-9)
    drawn, _ = draw_landscapes(START)
    first, second = (trace(drawn, f"{name} slice") for name in NAMES)
    assert first["contours"] == second["contours"]
    assert first["contours"]["end"] == pytest.approx(max(float(each["z"].max()) for each in (first, second)))


def test_the_slice_of_a_model_states_what_the_figure_leaves_out():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    data = torch.randn(8, 3), torch.randn(8, 1)
    states = [{name: p + i for name, p in model.state_dict().items()} for i in (1, 2)]
    panel = slice_panel(landscape_of(model, torch.nn.MSELoss(), data, directions="hessian", checkpoints=states))
    inputs = torch.cat((data[0], torch.ones(8, 1)), 1).double().numpy()
    top = np.linalg.eigvalsh(inputs.T @ inputs / 4)[-1]
    assert f"λ₁ = {top:.3g}, with a residual of" in panel.sentence
    assert "of the distance to the first checkpoint is off the plane" in panel.sentence


def test_lines_share_one_pair_of_axes_with_their_names():
    bowls = {"steep": quadratic([4.0, 1.0]), "flat": quadratic([1.0, 1.0])}
    line = plane_through(torch.zeros(2), torch.tensor([1.0, 0.0]))
    drawn = slice_figure({name: landscape(bowl, line, resolution=3) for name, bowl in bowls.items()})
    for name, height in (("steep", 2.0), ("flat", 0.5)):
        np.testing.assert_allclose(trace(drawn, f"{name} along the linear interpolation")["y"], [height, 0, height])
    assert trace(drawn, "names")["text"] == [" <b>steep</b>", " <b>flat</b>"]
