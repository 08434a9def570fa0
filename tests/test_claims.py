"""The claims: all of them hold in quick and in full form, at three scales or more, and a claim can fail and says so."""

import json
import math
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from failing import failing

from samviz import cli
from samviz.claims import CLAIMS, Check, Claim, Curve, Finding, Plot, Verdict, verify
from samviz.claims import sharpness as sharpness_claims
from samviz.claims.claim import exponent, falls, line, near
from samviz.dynamics import RULES, flows, rules
from samviz.figures import claim_figure, figure
from samviz.geometry import (
    ascent,
    average_direction_sharpness,
    hessian_trace,
    regularizer,
    sharpness,
    third_derivative,
)
from samviz.verify import page

FIELDS = {"name", "statement", "source", "prediction", "measurement", "tolerance", "verdict", "seconds", "settings"}


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["quick", "full"])
@pytest.mark.parametrize("name", CLAIMS)
def test_holds(name, quick):
    """Slow: in full, a claim takes all of its scales."""
    (verdict,) = verify([name], quick=quick)
    assert verdict.holds, verdict.row()
    row = json.loads(json.dumps(verdict.row(), allow_nan=False))
    assert set(row) >= FIELDS
    assert row["prediction"].keys() == row["measurement"].keys() == row["tolerance"].keys() != set()
    assert len(row["statement"]) > 30
    assert row["settings"]
    figure(claim_figure(verdict.finding.plot))  # plotly accepts it
    for curve in verdict.finding.plot.curves:
        assert len(curve.x) == len(curve.y) > 0
        assert np.isfinite(curve.y).all()


def test_the_paper_is_covered():
    sources = " ".join(claim.source for claim in CLAIMS.values())
    for statement in ("Lemma 3.2", "Lemma 3.5", "Theorem 4.2", "4.3", "Theorem 4.5", "Corollary 4.6", "Corollary 4.7"):
        assert statement in sources, statement
    for statement in ("Theorem 4.8", "Lemma 5.5", "Theorem 5.3", "Theorem 5.4", "5.6", "Example 5.8", "Figure 1"):
        assert statement in sources, statement
    assert "Agarwala" in sources
    assert len(CLAIMS) >= 20


# errors in the library


def only_the_start(problem, x, rho, start, batch):
    """Return the direction that `climb` starts from, without maximizing L(x + ρv)."""
    return ascent.Climb(start, *[torch.zeros(len(x))] * 3, 0)


def rule_of_larger_radius(problem, x, batch, lr, rho, noise):
    return rules.average(problem, x, batch, lr, 1.5 * rho, noise)


def sharpness_of_larger_radius(problem, x, rho, stochastic=False):
    return average_direction_sharpness(problem, x, 1.5 * rho, stochastic)


def doubled_derivative(problem, x, v):
    """Return twice the third derivative, of which the limiting flow takes half, so that its factor ½ is missing."""
    return 2 * third_derivative(problem, x, v)


def flow_of_the_top_eigenvalue(problem, start, kind, clock, along=flows._along):
    return along(problem, start, "worst", clock)


def larger_trace(problem, x):
    found = hessian_trace(problem, x)
    return replace(found, value=1.05 * found.value)


@pytest.mark.parametrize(
    ("name", "module", "function", "wrong", "fails"),
    [
        ("two_wrongs", rules, "climb", only_the_start, "∇L_Max"),
        ("three_limits", sharpness, "_worst", sharpness._ascent, "worst"),
        ("three_limits", sharpness_claims, "average_direction_sharpness", sharpness_of_larger_radius, "average"),
        ("third_order_term", flows, "third_derivative", doubled_derivative, "network: limiting flow's"),
        ("one_sample_flow", flows, "_along", flow_of_the_top_eigenvalue, "network: limiting flow's"),
        ("three_limits", regularizer, "hessian_trace", larger_trace, "average: S from the Hessian"),
        ("one_sample_limits", regularizer, "hessian_trace", larger_trace, "S from the Hessian"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # R_Asc is infinite on Γ
def test_an_error_in_the_library_fails(monkeypatch, name, module, function, wrong, fails):
    monkeypatch.setattr(module, function, wrong)
    failed = failing(name)
    assert failed
    assert all(fails in quantity for quantity in failed)


@pytest.mark.parametrize(
    ("rule", "wrong", "fails"),
    [("worst", rules.sam, "∇L_Max"), ("average", rule_of_larger_radius, "∇L_Avg")],
)
def test_an_error_in_a_rule_fails(monkeypatch, rule, wrong, fails):
    monkeypatch.setitem(RULES, rule, wrong)
    assert any(fails in quantity for quantity in failing("two_wrongs"))


# the framework


def finding(*checks):
    return Finding(checks, {"rho": [1, 2, 3]}, Plot("ρ", "R", [Curve("measured", np.ones(3), np.ones(3))]))


@pytest.fixture
def registry():
    """Three claims in place of the paper's: one that holds, one that fails, one that breaks."""

    def broken(quick):
        raise RuntimeError("no such luck")

    made = {
        "good": lambda quick: finding(near("a", 1, 1.001, relative=0.01)),
        "bad": lambda quick: finding(near("a", 1, 1.001, relative=0.01), near("b", 1, 2.0, relative=0.01)),
        "broken": broken,
    }
    kept = dict(CLAIMS)
    CLAIMS.clear()
    CLAIMS.update({name: Claim(name, f"It is {name}.", "nowhere", find) for name, find in made.items()})
    yield
    CLAIMS.clear()
    CLAIMS.update(kept)


@pytest.mark.usefixtures("registry")
def test_a_claim_fails_when_one_check_does_or_when_it_breaks(capsys):
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
    assert good["verdict"] == "holds"
    assert bad["verdict"] == broken["verdict"] == "fails"
    assert bad["measurement"] == {"a": 1.001, "b": 2.0}
    assert bad["tolerance"]["b"] == [0.99, 1.01]
    assert broken["remark"] == "RuntimeError: no such luck"
    assert set(broken) >= FIELDS


@pytest.mark.usefixtures("registry")
def test_an_unknown_name_runs_nothing(capsys):
    assert cli.main(["verify", "good", "ugly"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "no claim is called ugly; expected some of good, bad, broken" in told.err


@pytest.mark.usefixtures("registry")
def test_the_report_is_one_page(tmp_path, capsys):
    path = tmp_path / "out.html"
    assert cli.main(["verify", "--report", str(path)]) == 1
    written = path.read_text(encoding="utf-8")
    assert written.count("<section id=") == 3
    assert written.count('class="plotly-graph-div"') == 2
    assert "RuntimeError: no such luck" in written
    assert 'src="http' not in written  # plotly.js comes along: the page needs no network
    assert cli.main(["verify", "--report", str(tmp_path / "no" / "out.html")]) == 2
    assert "expected a file in a folder that exists" in capsys.readouterr().err


def test_the_report_shows_texts_as_they_are():
    texts = "1 < <b>2</b>", "Lemma <i>1</i> & 2", "ValueError: <script>alert(1)</script>"
    statement, source, problem = texts
    shown = []
    parser = HTMLParser()
    parser.handle_data = shown.append
    parser.feed(page([Verdict(Claim("x", statement, source, None), None, 0.0, problem)], quick=True))
    for text in texts:
        assert any(text in part for part in shown), text


def test_checks():
    assert near("a", -2.0, -2.01, relative=0.01).holds
    assert not near("a", -2.0, -2.03, relative=0.01).holds
    assert not Check("a", 0, math.nan).holds
    assert falls("a", [3, 2, 1]).holds
    assert not falls("a", [3, 1, 2]).holds
    assert not falls("a", [1, 1, 1]).holds
    x = np.array([1.0, 2.0, 4.0])
    assert exponent("a", x, 5 * x**2, 2, 0.1).holds
    assert not exponent("a", x, 5 * x**1.5, 2, 0.1).holds
    with pytest.raises(ValueError, match="three or more"):
        falls("a", [2, 1])
    with pytest.raises(ValueError, match="three or more"):
        line([1, 2], [1, 2])


def test_a_lines_error_is_that_of_scipy():
    from scipy.stats import linregress

    rng = np.random.default_rng(0)
    x, y = np.arange(9.0), rng.normal(size=9)
    fit = linregress(x, y)
    np.testing.assert_allclose(line(x, y), (fit.slope, fit.stderr))


def test_an_infinite_number_is_null_in_json():
    check = Check("a", 0, math.inf)
    verdict = Verdict(Claim("x", "s", "t", None), finding(check), 0.0)
    assert verdict.row()["measurement"] == {"a": None}
    assert verdict.row()["tolerance"] == {"a": [None, None]}
