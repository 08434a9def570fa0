"""Every claim holds at three scales or more, and fails with another rule, another law or a wrong factor."""

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
import valley_by_hand
from scipy.stats import linregress

from samviz import cli
from samviz.claims import BEYOND, CLAIMS, Check, Claim, Curve, Plot, Verdict, ablation, subjects, verify
from samviz.claims.claim import at_most, decreasing, exponent, line, near, symbols_table
from samviz.claims.full_batch import FLOOR, phase_two_iterates
from samviz.dynamics import Run
from samviz.figures import claim_figure, figure
from samviz.problems import quadratic, valley
from samviz.verify import page

PAGE = Path(__file__).parents[1] / "notebooks/pages/symbols.md"
FIELDS = {"name", "statement", "source", "prediction", "measurement", "tolerance", "verdict", "seconds", "settings"}
EVERY = (CLAIMS | BEYOND).values()
CASES = [pytest.param(c, changes, id=f"{c.name}-{changes}") for c in EVERY for changes in c.fails_with]
of_each = pytest.mark.parametrize("claim", EVERY, ids=lambda claim: claim.name)
OPEN, FAILING = ("micro_batches", "accuracy_against_m"), ("stochastic_edge", "alignment_in_practice")
VERDICTS = dict.fromkeys(OPEN, "open") | dict.fromkeys(FAILING, "does not hold here")


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["quick", "full"])
@of_each
def test_each_claim_holds(claim, quick):
    """Slow: in full, a claim takes all of its scales."""
    (verdict,) = verify([claim.name], quick=quick)
    assert verdict.word == VERDICTS.get(claim.name, "holds"), verdict.row()
    row = json.loads(json.dumps(verdict.row(), allow_nan=False))
    assert set(row) >= FIELDS
    assert row["prediction"].keys() == row["measurement"].keys() == row["tolerance"].keys() != set()
    assert len(row["settings"]) >= 2  # of a call and of the figure's scales
    figure(claim_figure(verdict.finding.plot))  # plotly accepts it
    for curve in verdict.finding.plot.curves:
        assert len(curve.x) == len(curve.y) > 0
        assert np.isfinite(curve.y).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a wrong quantity may be negative, zero or infinite
@pytest.mark.parametrize(("claim", "changes"), CASES)
def test_each_claim_fails_in_the_case_that_it_states(claim, changes):
    """By its own checks, not by an exception."""
    assert not all(check.holds for check in claim.measure(True, **changes).checks)


def test_the_symbols_page_lists_all_claims_in_the_papers_order():
    """After a change of the claims, write it again: python -m samviz.claims notebooks/pages/symbols.md."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.endswith("## Claims\n\n" + symbols_table())
    assert [claim.order for claim in CLAIMS.values()] == sorted(claim.order for claim in CLAIMS.values())
    first_cells = {row.split(" | ")[0].removeprefix("| ") for row in text.splitlines()}
    for claim in CLAIMS.values():
        assert claim.fails_with
        assert len(claim.statement) > 30
        assert {*claim.symbols.split("; ")} <= first_cells
    sources = " ".join(claim.source for claim in CLAIMS.values())
    statements = "Lemma 3.2, Lemma 3.5, Theorem 4.2, 4.3, Theorem 4.5, Corollary 4.6, Corollary 4.7, Theorem 4.8, "
    statements += "Lemma 5.5, Theorem 5.3, Theorem 5.4, 5.6, Example 5.8, Figure 1, Table 1, Long & Bartlett"
    assert [statement for statement in statements.split(", ") if statement not in sources] == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "function", "fails"),
    [
        ("two_wrongs", "ablation.worst_direction_sharpness", "R_Max"),
        ("three_limits", "sharpness.limiting_regularizer", "S from the Hessian"),
        ("sharpness_at_the_end", "full_batch.worst_direction_sharpness", "L_Max(x(T))/ρ² divided by"),
        ("one_sample_sharpness", "stochastic.worst_direction_sharpness", "E R at the last τ"),
        ("third_order_term", "manifold.third_derivative", "∂Φ∇³L[v₁,v₁]"),
        ("network_aligns", "full_batch.predicted_decrease", "divided by Eq. 7's"),
        ("sharpness_per_step", "full_batch.third_derivative", "measured decrease divided by"),
        ("edge_of_sam", "full_batch.edge_of_stability", "divided by the edge"),
        ("two_wrongs", "ablation._dropped_limit", "∇L_Asc"),
        ("gradient_angle", "full_batch.sine", "divided by ‖∇λ₁‖"),
    ],
)
def test_a_wrong_factor_in_one_quantity_fails(monkeypatch, name, function, fails):
    original = resolve_name(f"samviz.claims.{function}")

    def wrong(*args, **options):
        result = original(*args, **options)
        return SimpleNamespace(value=1.2 * result.value) if hasattr(result, "value") else 1.2 * result

    monkeypatch.setattr(f"samviz.claims.{function}", wrong)
    failed = [check.quantity for check in CLAIMS[name].measure(True).checks if not check.holds]
    assert any(fails in quantity for quantity in failed), failed


def sam_step(x, lr, rho):
    """Take a step of SAM on the valley, by hand."""
    slope = valley_by_hand.slope(x)
    return x - lr * valley_by_hand.slope(x + rho * slope / np.linalg.norm(slope))


def test_phase_two_starts_on_the_2_cycle():
    minimum, lr = torch.tensor([1.0, -2.0, 0.5]).double(), np.array([0.02, 0.1, 0.3])
    rho, matrix = np.array([0.1, 0.01, 0.2]), np.diag([1.0, 4.0, 2.0])
    start = subjects.cycle_points(quadratic(np.diag(matrix)), minimum, lr, rho).numpy() - minimum.numpy()
    slope = start @ matrix
    perturbed = start + rho[:, None] * slope / np.linalg.norm(slope, axis=1, keepdims=True)
    np.testing.assert_allclose(start - lr[:, None] * perturbed @ matrix, -start, atol=1e-12)  # the other side


def test_phase_two_is_read_at_its_times():
    lr, rho, tau = np.array([0.02, 0.008]), 0.2, np.array([0.02, 0.05])
    found = phase_two_iterates(valley(), "sam", FLOOR, lr, rho, tau)
    for run, steps in enumerate(([25, 62], [62, 156])):  # τ/(ηρ²), rounded
        top = 2 * valley_by_hand.curvatures(FLOOR.numpy())[0]
        x, path = FLOOR.numpy() + np.array([0, 0, lr[run] * rho * top / (2 - lr[run] * top), 0]), []
        for _ in range(157):
            path.append(np.abs(x))  # the eigenvector may have either sign
            x = sam_step(x, lr[run], rho)
        np.testing.assert_allclose(found[:, run].abs(), [path[t] for t in steps], atol=1e-9)


@pytest.mark.parametrize("lr", [0.001, 0.02, 0.05])
def test_the_overshoot_is_that_of_two_steps_around_the_2_cycle(lr):
    floor, rho = np.array([0.6, 0.9]), 1e-4
    top = 2 * valley_by_hand.curvatures(floor)[0]
    start = x = np.array([*floor, lr * rho * top / (2 - lr * top), 0.0])
    for _ in range(2):
        x = sam_step(x, lr, rho)
    drift = (x - start)[:2] / (2 * lr * rho**2)  # of time τ = ηρ²t
    np.testing.assert_allclose(drift, -subjects.overshoot(lr, top) * np.array([2, 12]) * floor, rtol=1e-2)


@pytest.mark.parametrize("rho", [0.3, 0.01])
def test_the_gradient_of_l_asc_is_that_of_the_rule(rho):
    x = np.array([0.3, 0.7, 0.05, -0.2]) * [1, 1, rho, rho]
    run = Run(valley(), "ascent", 1.0, rho, x0=x, device="cpu")
    run.step()
    np.testing.assert_allclose(ablation.ascent_loss_gradient(x, rho), x - run.x[0].numpy(), rtol=1e-9)


def test_the_ablation_names_the_sharpness_that_each_method_minimizes():
    rows = {row.method: row for row in ablation.ablation(quick=True, lr_ascent=2.5e-4)}
    assert [row.minimizes for row in rows.values()] == ["λ₁", "λ_M", "λ₁", "Tr", "nothing"]
    assert rows["SAM"].drift[1] < 0 < rows["descent on L_Asc"].drift[1]  # λ₁ falls with x₂, λ_M grows


CURVE, AXES = Curve("measured", np.ones(3), np.ones(3)), Plot("ρ", "R")


@pytest.fixture
def registry():
    """Replace the paper's claims by three: one that holds, one that fails, one that raises an exception."""

    def broken(quick):
        raise RuntimeError("no such luck")

    functions = {
        "good": lambda quick: [CURVE, AXES, near("a", 1, 1.001, relative=0.01)],
        "bad": lambda quick: [near("b", 1, 2.0, relative=0.01), CURVE, Check("c", 0, math.inf), AXES],
        "broken": broken,
    }
    claims = {name: Claim(name, f"It is {name}.", "nowhere", find) for name, find in functions.items()}
    with mock.patch.dict(CLAIMS, claims, clear=True):
        yield


@pytest.mark.usefixtures("registry")
def test_a_claim_fails_when_one_check_does_or_by_an_exception(capsys):
    assert [verdict.holds for verdict in verify()] == [True, False, False]
    assert cli.main(["verify", "good"]) == 0
    assert cli.main(["verify", "bad"]) == 1
    assert cli.main(["verify"]) == 1
    out = capsys.readouterr().out
    assert "FAILS" in out
    assert "b: measured 2, predicted 1, claimed within 0.01" in out
    assert "RuntimeError: no such luck" in out
    assert "1 of 3 claims hold" in out


@pytest.mark.usefixtures("registry")
def test_json_is_all_that_is_printed(capsys):
    assert cli.main(["verify", "--json", "--quick", "good", "bad", "broken"]) == 1
    good, bad, broken = json.loads(capsys.readouterr().out)["claims"]
    assert (good["verdict"], bad["verdict"], broken["verdict"]) == ("holds", "fails", "fails")
    assert bad["measurement"] == {"b": 2.0, "c": None}  # JSON has no infinity
    assert bad["tolerance"] == {"b": [0.99, 1.01], "c": [None, None]}
    assert broken["remark"] == "RuntimeError: no such luck"
    assert set(broken) >= FIELDS


@pytest.mark.usefixtures("registry")
def test_an_unknown_name_or_folder_runs_nothing(tmp_path, capsys):
    assert cli.main(["verify", "good", "ugly"]) == 2
    assert cli.main(["verify", "--report", str(tmp_path / "no" / "out.html")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no claim is called ugly; expected some of good, bad, broken" in printed.err
    assert "expected a file in a folder that exists" in printed.err


@pytest.mark.usefixtures("registry")
def test_the_report_is_one_page(tmp_path):
    path = tmp_path / "out.html"
    assert cli.main(["verify", "--report", str(path)]) == 1
    written = path.read_text(encoding="utf-8")
    assert written.count("<section id=") == 3
    assert written.count('class="plotly-graph-div"') == 2
    assert "RuntimeError: no such luck" in written
    assert 'src="http' not in written  # it contains plotly.js and needs no network


def test_a_claim_beyond_the_paper_may_be_open_or_not_hold_here(tmp_path, capsys):
    checks = {"good": near("a", 1, 1.0), "wrong": near("a", 1, 2.0), "unknown": Check("a", math.nan, 1.0)}
    claims = {n: Claim(n, n, "X 2024", lambda _, c=c: [c, CURVE, AXES], beyond=True) for n, c in checks.items()}
    path = tmp_path / "out.html"
    with mock.patch.dict(BEYOND, claims, clear=True):
        assert [verdict.holds for verdict in verify(beyond=True)] == [True, False, False]
        assert cli.main(["verify", "--beyond", "--report", str(path)]) == 0
    assert "1 of 3 claims hold (1 open)" in capsys.readouterr().out
    written = path.read_text(encoding="utf-8")
    assert written.count("class='does-not-hold-here'") == written.count("class='open'") == 2  # table and heading
    assert "the paper, verified" not in written
    assert "The statements are those of" not in written


def test_the_report_escapes_texts():
    texts = "1 < <b>2</b>", "Lemma <i>1</i> & 2", "ValueError: <script>alert(1)</script>"
    statement, source, problem = texts
    shown = []
    parser = HTMLParser()
    parser.handle_data = shown.append
    parser.feed(page([Verdict(Claim("x", statement, source, None), None, 0.0, problem)], quick=True))
    for text in texts:
        assert any(text in part for part in shown), text


def test_the_settings_are_the_arguments_of_the_recorded_calls():
    def find(quick):
        for rule in ("gd", "sam"):
            subjects.new_run(quadratic([3.0, 1.0]), rule, [0.1, 0.2], 0.05, x0=[1.0, 1.0]).step(7)
        return [CURVE, AXES]

    settings = Claim("x", "s", "t", find).measure(True).settings
    run = {"problem": "quadratic", "rule": ["gd", "sam"], "lr": [0.1, 0.2], "rho": 0.05, "x0": [1, 1], "steps": 7}
    assert settings == {"new_run": run, "ρ": [1]}


def test_checks():
    assert near("a", -2.0, -2.01, relative=0.01).holds
    assert not near("a", -2.0, -2.03, relative=0.01).holds
    assert not Check("a", 0, math.nan).holds
    assert decreasing("a", [3, 2, 1]).holds
    assert not decreasing("a", [3, 1, 2]).holds
    assert not decreasing("a", [1, 1, 1]).holds
    x = np.array([1.0, 2.0, 4.0])
    assert exponent("a", x, 5 * x**2, 2, 0.1).holds
    assert not exponent("a", x, 5 * x**1.5, 2, 0.1).holds
    for function in (lambda: decreasing("a", [2, 1]), lambda: exponent("a", [1, 2], [1, 2], 1)):
        with pytest.raises(ValueError, match=r"expected three or more|number of data points"):
            function()
    assert near("a", 1, [1.0, 0.5, 1.2], absolute=0.1).measured == 0.5
    assert at_most("a", [1.0, 3.0, math.nan], 4).holds is False
    for check in (at_most("a", 1, 4), decreasing("a", [3, 2, 1])):
        assert math.isnan(check.predicted)  # a limit is no prediction
    assert exponent("a", x, 5 * x**3, 2, or_more=True).holds


def test_the_error_of_a_line_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x, y = np.arange(9.0), rng.normal(size=9)
    fit = linregress(x, y)
    np.testing.assert_allclose(line(x, y), (fit.slope, fit.stderr))
