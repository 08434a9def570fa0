"""The benchmark's own arithmetic: medians, targets, the table and where it goes. No peer is needed for it."""

import json
import tomllib
from dataclasses import replace

import plotly.graph_objects as go
import pytest
import torch
from fresh import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import limits, report, scaling, timing
from benchmarks.row import Measured, Result, Row, Target
from benchmarks.timing import alternate
from samviz.problems import mlp

FIELDS = {"name", "ours", "peer", "ratio", "lowest", "highest", "target", "met", "ours_correct", "peer_correct"}


def result(target, *measured):
    return Result.of(Row("a row", target, measure=None), [Measured(*each) for each in measured])


def three(*seconds, wrong=None):
    """Return what three processes measured, of which one may be wrong."""
    return [(each, 10.0, process != wrong, True) for process, each in enumerate(seconds)]


@pytest.mark.parametrize(
    ("target", "measured", "line"),
    [
        (Target("≥", 9), [(1.0, 10.0, True, True)], "1 s | 10 s | 10× | 10–10× | ≥ 9× | met"),
        (Target("≥", 9), [(1e-3, 8e-3, True, True)], "1 ms | 8 ms | 8× | 8–8× | ≥ 9× | **missed**"),
        (Target("≥", 9), [(1.0, 12.0, False, True)], "1 s ✗ | 12 s | 12× | 12–12× | ≥ 9× | **missed**"),
        (Target("≥", 9), [(1.0, 10.0, True, False)], "1 s | 10 s ✗ | 10× | 10–10× | ≥ 9× | met"),
        (Target("≤", 1.1), [(2.4, 2.0, True, True)], "2.4 s | 2 s | 1.2× | 1.2–1.2× | ≤ 1.1× | **missed**"),
        (Target("≤", 60, "ns"), [(26.04e-9, None, True, None)], "26 ns | – | – | 26–26 ns | ≤ 60 ns | met"),
        (Target("≤", 5, "%"), [(0.03, 0.06, True, False)], "3 % | 6 % ✗ | – | 3–3 % | ≤ 5 % | met"),
        (Target("≤", 5, "%"), [(0.06, 0.04, True, True)], "6 % | 4 % | – | 6–6 % | ≤ 5 % | **missed**"),
        (Target("≤", 5, "%"), [(0.0, 0.0, False, True)], "0 % ✗ | 0 % | – | 0–0 % | ≤ 5 % | **missed**"),
        (Target("≥", 4), three(2.0, 1.0, 2.5), "2 s | 10 s | 5× | 4–10× | ≥ 4× | met"),
        (Target("≥", 4), three(2.0, 1.0, 2.6), "2 s | 10 s | 5× | 3.85–10× | ≥ 4× | **missed**"),
        (Target("≤", 0.2), three(2.0, 1.0, 1.5), "1.5 s | 10 s | 0.15× | 0.1–0.2× | ≤ 0.2× | met"),
        (Target("≤", 0.2), three(2.1, 1.0, 1.5), "1.5 s | 10 s | 0.15× | 0.1–0.21× | ≤ 0.2× | **missed**"),
        (Target("≥", 4), three(2.0, 1.0, 2.5, wrong=1), "2 s ✗ | 10 s | 5× | 4–10× | ≥ 4× | **missed**"),
    ],
)
def test_a_line_shows_medians_marks_who_was_wrong_and_meets_its_target_only_if_every_process_does(
    target, measured, line
):
    """A target with a unit bounds only our side."""
    made = result(target, *measured)
    assert made.met is line.endswith("| met")
    assert report.line(made) == f"| a row | {line} |"
    assert [each.count("|") for each in report.table([made]).split("\n")] == [8] * 3


def test_a_row_without_a_peer_has_no_ratio_and_every_row_has_the_form_of_the_json():
    with pytest.raises(ValueError, match="≥ 9×"):
        Target("≥", 9).ratio(Measured(1.0, None, True, None))
    failed = Result.of(Row("a row", Target("≥", 9), measure=None), [Measured(1.0, 10.0, True, True), None])
    assert failed.met is False
    assert set(vars(failed)) == FIELDS
    assert "| failed |" in report.line(failed)
    results = [
        result(Target("≥", 9), (1e-6, 1e-5, True, True)),
        result(Target("≤", 60, "ns"), (26e-9, None, True, None)),
    ]
    content = json.loads(report.as_json(results, "a machine", {"D": {}}))
    assert set(content) == {"machine", "rows", "scaling"}
    assert [set(row) for row in content["rows"]] == [FIELDS, FIELDS]
    assert content["rows"][0]["ratio"] == pytest.approx(10)
    assert content["rows"][1]["peer"] is None


def test_the_readme_shows_the_highlighted_rows_of_the_complete_table():
    page, readme = ((ROOT / path).read_text(encoding="utf-8") for path in ("benchmarks/README.md", "README.md"))
    rows = json.loads((ROOT / "benchmarks/results.json").read_text(encoding="utf-8"))["rows"]
    assert set(report.HIGHLIGHTS) <= {row["name"] for row in rows}
    shown = readme.partition("<!-- bench -->\n")[2].partition("<!-- /bench -->")[0].splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in shown[2:]] == list(report.HIGHLIGHTS)
    assert set(shown) <= set(page.splitlines())


def test_the_page_has_a_place_for_all_results_and_names_the_rows_in_which_a_peer_is_faster():
    results = [result(Target("≥", 9), (2.0, 1.0, True, True)), result(Target("≥", 9), (1.0, 2.0, True, True))]
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    page = report.page(text, [replace(results[0], name="slow"), results[1]], "a machine", "| scaling |")
    assert {"Measured on a machine.", "| scaling |", *report.table(results[1:]).split("\n")} <= set(page.splitlines())
    assert "faster in all three processes of “slow”." in page


def test_the_estimates_count_the_products_of_an_mlp():
    """One layer of weights (3, 2), n = 5: 2·5·6 operations forward, as many for the gradient of the weights."""
    network = mlp([2, 3], data=(torch.zeros(5, 2), torch.zeros(5, 3)))
    assert limits.losses(network).operations == 60
    assert limits.gradients(network).operations == 120
    two = mlp([2, 3, 4], data=(torch.zeros(5, 2), torch.zeros(5, 4)))  # the second layer also has that of its inputs
    assert limits.gradients(two, samples=1, count=7).operations == 7 * (2 * 12 + 3 * 24)
    rates = limits.Limits({"float64": 30.0}, bandwidth=2.0)
    assert rates.seconds(limits.Work(60.0, 8.0)) == (2.0, 4.0)


def test_fitted_exponents_are_those_of_a_power_law():
    points = [[x, 1e-3 * x**1.5, 1e-4 * x**1.5, 2e-3 * x**1.5] for x in (1, 10, 100, 1000)]
    costs = {panel: {"series": {"compiled": points, "torch": points}} for panel in scaling.PANELS}
    lines = scaling.summary(costs).splitlines()[2:]
    assert len(lines) == 2 * len(scaling.PANELS)
    assert all(" | 1.50 | 31.6 s | 10% | 200% |" in line for line in lines)
    go.Figure(scaling.figure(costs))  # plotly accepts it


def test_sides_take_turns_and_their_median_is_that_of_a_unit(monkeypatch):
    now, calls = [0.0], []
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])

    def side(name, costs):
        def work(n):
            calls.append(name)
            now[0] += n * costs.pop(0)
            return n

        return work

    fast = side("a", [9.0, 0.004, 0.7, 0.004, 0.8, 0.002, 0.9, 0.003])  # warm up, find how many take 10 ms, time
    slow = side("b", [9.0, 0.5, 0.5, 0.5, 0.7, 0.6])
    made = alternate(fast, slow, seconds=0.0, least=3)
    assert "".join(calls).endswith("ababab")
    assert made[0].seconds == pytest.approx(0.003)
    assert made[1].seconds == pytest.approx(0.6)
    assert made[0].results == [3, 3, 3]
    assert made[1].results == [1, 1, 1]


def test_every_peer_is_pinned():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    files = (ROOT / "constraints.txt", ROOT / "benchmarks" / "constraints.txt")
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, (line for line in lines if line[0] != "#"))}
    for peer in map(Requirement, extras["bench"]):
        (pin,) = pins[canonicalize_name(peer.name)].specifier
        assert pin.operator == "=="
        assert peer.specifier.contains(pin.version, prereleases=True)
    assert {canonicalize_name(name) for name in report.PEERS} <= set(pins)
