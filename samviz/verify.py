"""Run the claims for `samviz verify`: show progress, print a table, write a report."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Sequence
from html import escape
from importlib import metadata
from math import isfinite
from pathlib import Path

from samviz import __version__
from samviz.claims import CLAIMS, Check, Verdict, verify
from samviz.files import write

BAR_LENGTH = 24  # characters of the progress bar


def run_claims(
    names: Sequence[str] = (), *, quick: bool = False, as_json: bool = False, report: Path | None = None
) -> int:
    """Run claims, print the verdicts, and return 1 if a claim fails, 2 if a name or the report's folder is unknown."""
    if report is not None and (report.is_dir() or not report.parent.is_dir()):  # before anything runs
        print(f"samviz: --report is {report}; expected a file in a folder that exists", file=sys.stderr)
        return 2
    verdicts: list[Verdict] = []
    try:
        for verdict in _with_progress(verify(names, quick=quick), list(names) or list(CLAIMS)):
            verdicts.append(verdict)
            if not as_json:
                print(_lines(verdict), flush=True)
    except ValueError as error:
        print(f"samviz: {error}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps({"claims": [verdict.row() for verdict in verdicts]}, ensure_ascii=False, indent=1))
    else:
        print(f"{_summary(verdicts)}; {sum(v.seconds for v in verdicts):.0f} s")
    if report is not None:
        write(report, page(verdicts, quick=quick).encode())
        print(f"The report is in {report}", file=sys.stderr)
    return int(not all(verdict.holds for verdict in verdicts))


def _summary(verdicts: Sequence[Verdict]) -> str:
    return f"{sum(verdict.holds for verdict in verdicts)} of {len(verdicts)} claims hold"


def _with_progress(verdicts: Iterator[Verdict], names: list[str]) -> Iterator[Verdict]:
    """Yield the verdicts, and show a progress bar if there is a terminal."""
    if not sys.stderr.isatty():
        yield from verdicts
        return
    for done, name in enumerate([*names, ""]):
        share = BAR_LENGTH * done // len(names)
        bar = "█" * share + "░" * (BAR_LENGTH - share)
        print(f"\r\x1b[K{bar} {done}/{len(names)} {name}", end="", file=sys.stderr, flush=True)
        verdict = next(verdicts, None)
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        if verdict is not None:
            yield verdict


def _lines(verdict: Verdict) -> str:
    """Return the lines of the table for a claim."""
    claim = verdict.claim
    head = f"{'holds' if verdict.holds else 'FAILS':7}{claim.name:34}{claim.source:34}{verdict.seconds:6.1f} s"
    if verdict.finding is None:
        return f"{head}\n       {verdict.problem}"
    lines = [
        f"     {' ' if c.holds else '!'} {c.quantity}: "
        f"measured {_measured(c)}, predicted {c.predicted:.4g}, claimed {_interval(c)}"
        for c in verdict.finding.checks
    ]
    return "\n".join([head, *lines])


def _measured(check: Check) -> str:
    return f"{check.measured:.4g}" + (f" ± {check.error:.1g}" if check.error else "")


def _interval(check: Check) -> str:
    """Describe the interval in which a check holds."""
    low, high, tolerance = check.low, check.high, (check.high - check.low) / 2
    if isfinite(tolerance) and abs(low + tolerance - check.predicted) <= 1e-6 * tolerance:
        return f"within {tolerance:.2g}"
    if isfinite(tolerance):
        return f"from {low:.4g} to {high:.4g}"
    return f"at least {low:.4g}" if isfinite(low) else f"at most {high:.4g}"


def page(verdicts: Sequence[Verdict], *, quick: bool) -> str:
    """Return one HTML page that needs no network: a table of all claims, and for each its numbers and its figure."""
    from samviz.figures.style import FONT

    rows = "".join(
        f"<tr class={_word(v)}><td>{_word(v)}</td><td><a href='#{v.claim.name}'>{v.claim.name}</a></td>"
        f"<td>{escape(v.claim.source)}</td><td>{v.seconds:.1f} s</td></tr>"
        for v in verdicts
    )
    first = next((verdict for verdict in verdicts if verdict.finding), None)
    sections = "\n".join(_section(verdict, library=verdict is first) for verdict in verdicts)
    about = (
        f"{_summary(verdicts)}{', in quick form' if quick else ''}. "
        f"samviz {__version__}, torch {metadata.version('torch')}, Python {platform.python_version()} "
        f"on {platform.machine()}."
    )
    return PAGE.format(font=FONT, about=about, rows=rows, sections=sections)


def _section(verdict: Verdict, *, library: bool) -> str:
    """Return the section of a claim, with the source of plotly if `library`."""
    from plotly.io import to_html

    from samviz.figures import claim_figure, figure

    claim, finding = verdict.claim, verdict.finding
    if finding is None:
        body = f"<p class=fails>{escape(verdict.problem)}</p>"
    else:
        chart = to_html(
            figure(claim_figure(finding.plot)),
            full_html=False,
            include_plotlyjs=library,
            default_height="360px",
            config={"displaylogo": False, "modeBarButtons": [["toImage", "resetScale2d"]]},
        )
        checks = "".join(
            f"<tr class={_word(c)}><td>{escape(c.quantity)}</td><td>{c.predicted:.4g}</td>"
            f"<td>{_measured(c)}</td><td>{_interval(c)}</td></tr>"
            for c in finding.checks
        )
        body = (
            f"<table><tr><th>quantity</th><th>predicted</th><th>measured</th><th>claim</th></tr>{checks}</table>"
            f"<p>{escape(finding.remark)}</p>{chart}<details><summary>Settings</summary>"
            f"<pre>{escape(json.dumps(finding.settings, ensure_ascii=False, indent=1))}</pre></details>"
        )
    return (
        f"<section id='{claim.name}'><h2>{claim.name} <small class={_word(verdict)}>{_word(verdict)}</small></h2>"
        f"<p><b>{escape(claim.source)}.</b> {escape(claim.statement)}</p>{body}</section>"
    )


def _word(result: Check | Verdict) -> str:
    return "holds" if result.holds else "fails"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>samviz: the paper, verified</title><style>
body {{ font: 16px/1.5 {font}; color: #1b2733; max-width: 900px; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse; margin: 1em 0 }} td, th {{ text-align: left; padding: 3px 14px 3px 0 }}
tr.fails td:first-child, .fails {{ color: #b3261e; font-weight: bold }} small {{ font-weight: normal }}
small.holds {{ color: #00694b }} section {{ border-top: 1px solid #d5dbe2; margin-top: 2em }} pre {{ overflow: auto }}
</style></head><body>
<h1>How does SAM minimize sharpness? Every statement, predicted and measured</h1>
<p>The statements are those of Wen, Ma and Li (ICLR 2023), arXiv 2211.05729, in our words. {about}</p>
<table><tr><th>verdict</th><th>claim</th><th>source</th><th>time</th></tr>{rows}</table>
{sections}
</body></html>
"""
