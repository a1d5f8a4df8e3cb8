# SPDX-License-Identifier: Apache-2.0
"""What was found in files of transactions as one HTML file."""

from __future__ import annotations

from pathlib import Path

from tinyfin import files
from tinyfin.monitoring.blocks import SHOWN, days_figure, finding_lines, shares_figure
from tinyfin.pages.blocks import Block, count, fixed, number, percent, table, text
from tinyfin.pages.render import Check, Headline, PageSection, page
from tinyfin.results.check import DataCheck
from tinyfin.results.labels import LabelFileFacts

__all__ = ["render", "write_page"]

_TITLES = {
    "ok": (True, "Nothing is the matter"),
    "warning": (None, "Warnings, and nothing is wrong for sure"),
    "failed": (False, "Something is wrong with these files"),
    "too_few_rows": (None, "Too few rows for a verdict"),
}


def write_page(path: Path, found: DataCheck) -> Path:
    """Write the page. Raises InputError when it cannot be written."""
    return files.write(path, render(found))


def render(found: DataCheck) -> str:
    """The HTML."""
    data = found.data
    sections: list[tuple[str, list[Block]]] = [
        ("Checks", _checks(found)),
        ("Labels", _labels(found)),
        ("Against the training", _against(found)),
        ("Fields", _fields(found)),
        ("Time", _time(found)),
        ("Files", _files(found)),
    ]
    return page(
        f"{', '.join(file.name for file in data.files)}: check",
        subtitle=f"{data.rows:,} transactions of {data.terminals:,} terminals, {data.from_[:10]} "
        f"to {data.to[:10]}",
        verdict=_verdict(found),
        headline=_headline(found),
        sections=[
            PageSection(title.lower().replace(" ", "-"), title, blocks)
            for title, blocks in sections
            if blocks
        ],
        facts_file=DataCheck.NAME,
    )


def _verdict(found: DataCheck) -> Headline:
    lines = finding_lines(found.checks)
    if found.gate:
        good = all(row.ok for row in found.gate)
        rows = [Check(row.name, row.wanted, number(row.found, 4), row.ok) for row in found.gate]
        return Headline("The gate holds" if good else "The gate fails", good, lines, rows, "bound")
    passed, title = _TITLES[found.state]
    return Headline(title, passed, lines)


def _headline(found: DataCheck) -> list[tuple[str, str]]:
    rows = [
        ("bad rows", count(found.data.bad_rows)),
        ("double rows", count(found.doubles.rows)),
        ("silent terminals", count(len(found.silent))),
    ]
    if found.labels is not None:
        rows += [
            ("frauds", count(found.labels.frauds)),
            ("too recent for labels", percent(found.labels.too_recent)),
        ]
    return rows


def _checks(found: DataCheck) -> list[Block]:
    rows = [[one.check, one.state.replace("_", " "), one.text] for one in found.checks]
    out: list[Block] = [table("The most important first", ["check", "state", "found"], rows)]
    return out + [text(f"{line[0].upper()}{line[1:]}.") for line in found.remarks]


def _labels(found: DataCheck) -> list[Block]:
    out: list[Block] = []
    if found.labels is not None:
        head = ["label", "rows", "median", "nine of ten", "most"]
        rows = [
            [name, count(d.rows), *(fixed(x, 1) for x in (d.median, d.nine_of_ten, d.most))]
            for name, d in found.labels.delay_days.items()
        ]
        out.append(table("Days from a transaction to its label", head, rows))
    if found.label_files:
        names = [name for name in LabelFileFacts.model_fields if name not in ("name", "file")]
        rows = [[f.file, *(count(getattr(f, x)) for x in names)] for f in found.label_files]
        out.append(table("Files of labels", ["file", *names], rows))
    return out


def _against(found: DataCheck) -> list[Block]:
    if found.against is None:
        return []
    columns, unseen = found.against.columns, found.against.unseen
    rows = [
        [c.name, c.state.replace("_", " "), fixed(c.stability_index), percent(unseen.get(c.name))]
        for c in columns
    ]
    moved = [c for c in columns if c.state in ("failed", "warning")][:SHOWN]
    return [
        table(
            f"Fields that the model of {found.against.run} reads",
            ["field", "state", "stability index", "not seen in training"],
            rows,
        ),
        *(
            shares_figure(
                f"field-{i}",
                c,
                "these files",
                f"{c.name}: stability index {fixed(c.stability_index)}.",
            )
            for i, c in enumerate(moved)
        ),
    ]


def _fields(found: DataCheck) -> list[Block]:
    rows = [[name, percent(share)] for name, share in found.missing.items()]
    out: list[Block] = [table("Missing values of mapped fields", ["field", "missing"], rows)]
    if found.codes:
        listed = [
            [name, count(one.rows), ", ".join(f"{code:03}" for code in one.codes)]
            for name, one in found.codes.items()
        ]
        out.append(table("Codes of no ISO list", ["field", "rows", "codes"], listed))
    return out


def _time(found: DataCheck) -> list[Block]:
    out: list[Block] = []
    if len(found.days) > 1:
        out.append(days_figure({day.day: day.rows for day in found.days}))
    if found.gaps:
        gaps = [[gap.begin, gap.end, fixed(gap.hours, 1)] for gap in found.gaps]
        out.append(table("Pauses of all terminals", ["from", "to", "hours"], gaps))
    if found.silent:
        head = ["terminal", "transactions", "last", "days since", "longest pause before, days"]
        rows = [
            [s.terminal, count(s.rows), s.last]
            + [fixed(days, 1) for days in (s.silent_days, s.longest_pause_days)]
            for s in found.silent
        ]
        out.append(table("Terminals that fall silent", head, rows))
    return out


def _files(found: DataCheck) -> list[Block]:
    rows = [[file.name, count(file.bytes), file.sha256[:16]] for file in found.data.files]
    out: list[Block] = [table("Files", ["name", "bytes", "SHA-256, first 16 digits"], rows)]
    if found.bad_rows:
        bad = [[rule, count(n)] for rule, n in found.bad_rows.items()]
        out.append(table("Bad rows", ["rule", "rows"], bad))
    return out
