"""Run the claims for `samviz verify`: show progress, print a table, write a report."""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from string import Template

from tqdm import tqdm

from samviz import __version__
from samviz.claims import BEYOND, CLAIMS, Verdict, verify
from samviz.files import write


def run_claims(
    names: Sequence[str] = (),
    *,
    quick: bool = False,
    beyond: bool = False,
    as_json: bool = False,
    report: Path | None = None,
) -> int:
    """Run claims, print the verdicts, and return 1 if a claim fails, 2 if a name or the report's folder is unknown.

    A claim beyond the paper fails only if it raises an exception.
    """
    if report is not None and (report.is_dir() or not report.parent.is_dir()):  # before anything runs
        print(f"samviz: --report is {report}; expected a file in a folder that exists", file=sys.stderr)
        return 2
    verdicts: list[Verdict] = []
    results = verify(names, quick=quick, beyond=beyond)
    progress = tqdm(list(names) or list(BEYOND if beyond else CLAIMS), leave=False, disable=None)  # only in a terminal
    for name in progress:
        progress.set_description(name)
        try:
            verdicts.append(next(results))
        except ValueError as error:
            print(f"samviz: {error}", file=sys.stderr)
            return 2
        if not as_json:
            tqdm.write(_lines(verdicts[-1]))
    if as_json:
        print(json.dumps({"claims": [verdict.row() for verdict in verdicts]}, ensure_ascii=False, indent=1))
    else:
        print(f"{_summary(verdicts)}; {sum(v.seconds for v in verdicts):.0f} s")
    if report is not None:
        write(report, page(verdicts, quick=quick).encode())
        print(f"The report is in {report}", file=sys.stderr)
    return int(any(verdict.word == "fails" for verdict in verdicts))


def _summary(verdicts: Sequence[Verdict]) -> str:
    count = Counter(verdict.word for verdict in verdicts)
    return f"{count['holds']} of {len(verdicts)} claims hold" + f" ({count['open']} open)" * ("open" in count)


def _lines(verdict: Verdict) -> str:
    """Return the lines of the table for a claim."""
    claim = verdict.claim
    word = "FAILS" if verdict.word == "fails" else verdict.word
    lines = [f"{word:{20 if claim.beyond else 7}}{claim.name:34}{claim.source:34}{verdict.seconds:6.1f} s"]
    if verdict.finding is None:
        return f"{lines[0]}\n       {verdict.problem}"
    for check in verdict.finding.checks:
        quantity, predicted, measured, interval = check.cells
        mark = " " if check.holds else "!"
        lines.append(f"     {mark} {quantity}: measured {measured}, predicted {predicted}, claimed {interval}")
    return "\n".join(lines)


def page(verdicts: Sequence[Verdict], *, quick: bool) -> str:
    """Return one HTML page that needs no network: a table of all claims, and for each its numbers and its figure."""
    from samviz.figures.style import FONT

    table = _table(
        ("verdict", "claim", "source", "time"),
        ((v.word, (v.word, v.claim.name, v.claim.source, f"{v.seconds:.1f} s")) for v in verdicts),
    )
    first = next((verdict for verdict in verdicts if verdict.finding), None)
    sections = "\n".join(_section(verdict, library=verdict is first) for verdict in verdicts)
    about = (
        f"{_summary(verdicts)}{', in quick form' if quick else ''}. "
        f"samviz {__version__}, torch {metadata.version('torch')}, Python {platform.python_version()} "
        f"on {platform.machine()}."
    )
    page = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return page.substitute(font=FONT, about=about, table=table, sections=sections)


def _table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return an HTML table; each row has its verdict as a class, and a claim's name is a link to its section."""
    lines = [f"<tr><th>{'</th><th>'.join(head)}</th></tr>"]
    for word, texts in rows:
        cells = (f"<a href='#{text}'>{text}</a>" if text in CLAIMS | BEYOND else escape(text) for text in texts)
        lines.append(f"<tr class='{word.replace(' ', '-')}'><td>{'</td><td>'.join(cells)}</td></tr>")
    return f"<table>{''.join(lines)}</table>"


def _section(verdict: Verdict, *, library: bool) -> str:
    """Return the section of a claim, with the source of plotly if `library`."""
    from plotly.io import to_html

    from samviz.figures import claim_figure, figure

    claim, finding = verdict.claim, verdict.finding
    body = f"<p class=fails>{escape(verdict.problem)}</p>"
    if finding is not None:
        modes = {"displaylogo": False, "modeBarButtons": [["toImage", "resetScale2d"]]}
        options = {"full_html": False, "include_plotlyjs": library, "default_height": "360px", "config": modes}
        checks = (("holds" if check.holds else "fails", check.cells) for check in finding.checks)
        body = (
            f"{_table(('quantity', 'predicted', 'measured', 'claim'), checks)}<p>{escape(finding.remark)}</p>"
            f"{to_html(figure(claim_figure(finding.plot)), **options)}<details><summary>Settings</summary>"
            f"<pre>{escape(json.dumps(finding.settings, ensure_ascii=False, indent=1))}</pre></details>"
        )
    return (
        f"<section id='{claim.name}'><h2>{claim.name} "
        f"<small class='{verdict.word.replace(' ', '-')}'>{verdict.word}</small></h2>"
        f"<p><b>{escape(claim.source)}.</b> {escape(claim.statement)}</p>{body}</section>"
    )
