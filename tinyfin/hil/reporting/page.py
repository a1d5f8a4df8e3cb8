# SPDX-License-Identifier: Apache-2.0
"""The report of a replay: one HTML file that needs nothing else, its facts as JSON next to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tinyfin import files
from tinyfin.errors import InputError
from tinyfin.hil.failures import NOT_REACHED
from tinyfin.hil.replay.facts import ReplayFacts
from tinyfin.hil.replay.result import ReplayResult
from tinyfin.hil.reporting.facts import collect
from tinyfin.hil.reporting.report import ExtraSection, ReplayReport, Sizes
from tinyfin.hil.reporting.sections import first_differences, headline, sections
from tinyfin.pages.render import Headline, page

if TYPE_CHECKING:
    from tinyfin.data.transactions import Transactions

__all__ = ["render", "write"]

Replay = ReplayResult | ReplayFacts


def write(
    path: str | Path,
    *,
    replay: Replay | Sequence[Replay] | None,
    run_dir: str | Path | None = None,
    tx: Transactions | None = None,
    sizes: Mapping[str, Sizes] = MappingProxyType({}),
    commands: Sequence[str] = (),
    date: str | None = None,
    title: str = "tinyfin replay",
    more: Sequence[ExtraSection] = (),
    json_path: str | Path | None = None,
) -> Path:
    """Write the report to ``path`` and its facts to ``json_path`` (``path`` with ``.json``).

    replay: a :class:`tinyfin.hil.replay.ReplayResult`, its ``facts()``, or a list of them, one
        per target; None says that nothing was replayed. Only a ReplayResult holds the verdicts
        that alerts and score pictures are made of.
    run_dir: the run's folder; tx: the replayed transactions, whose rows ``ReplayResult.row`` names.
    sizes: what else is known of a target's image.
    commands: how to do it again; made from the run when empty.
    date: shown as given, and left out when None: the same arguments give the same bytes.
    more: further sections.

    The verdict is FAIL unless every check is proven by a number. What cannot be said is listed
    under "Not measured". Raises InputError when a file cannot be written.
    """
    report = collect(
        [replay] if isinstance(replay, ReplayResult | ReplayFacts) else replay or (),
        run_dir=None if run_dir is None else Path(run_dir),
        tx=tx,
        sizes=sizes,
        commands=commands,
        date=date,
        title=title,
        more=more,
    )
    html_path = Path(path)
    facts_path = html_path.with_suffix(".json") if json_path is None else Path(json_path)
    if facts_path == html_path:
        raise InputError(f"{html_path}: HTML and JSON have the same name; give another json_path")
    for target, text in ((facts_path, report.text()), (html_path, render(report))):
        files.write(target, text, make_folder=True)
    return html_path


def render(report: ReplayReport) -> str:
    """The HTML of a report, as it is in its JSON."""
    verdict = report.verdict
    title = "PASS" if verdict.passed else "FAIL"
    subtitle = [
        report.date or "",
        f"run {report.run.name}" if report.run else "",
        ", ".join(target.name for target in report.targets) or "no target",
    ]
    return page(
        report.title,
        window_title=f"{title}: {report.title}",
        subtitle=" · ".join(part for part in subtitle if part),
        verdict=Headline(title, verdict.passed, _lines(report), verdict.checks),
        headline=headline(report),
        sections=sections(report),
        facts_file="the JSON file",
    )


def _lines(report: ReplayReport) -> list[str]:
    verdict = report.verdict
    if verdict.passed:
        return [
            "Everything the terminal computed equals the workstation's, byte for byte, and nothing "
            "was lost."
        ]
    errors = {r.target: r.error for r in report.replays if r.error}
    later = [name for name, error in errors.items() if NOT_REACHED in error]
    lines = [f"{name}: {error}" for name, error in errors.items() if name not in later]
    if later:
        lines.append(f"Not reached: {', '.join(later)}.")
    # what ended with an error proves nothing else either
    failed = [
        check.name
        for check in verdict.checks
        if not check.ok and check.name.split(": ")[0] not in {*errors, "error"}
    ]
    if failed or not errors:
        lines.append(f"Not proven: {', '.join(failed) or 'nothing was checked'}.")
    return [*lines, *first_differences(report)]
