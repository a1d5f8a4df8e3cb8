# SPDX-License-Identifier: Apache-2.0
"""The data card: what a model was trained and tested on, its origin, and what is wrong with it.

The questions are those of Gebru et al., Datasheets for Datasets (2021), as far as data can answer.
"""

from __future__ import annotations

from tinyfin.evaluation.card_sections import Sections, given
from tinyfin.evaluation.data_sections import data_quality
from tinyfin.pages.blocks import Block, count, fixed, table, text
from tinyfin.pages.markdown import as_markdown, readable
from tinyfin.results.evaluation import Evaluation
from tinyfin.results.run import SliceSize

__all__ = ["data_card", "data_sections"]

_MOST = 12


def data_card(facts: Evaluation) -> str:
    """Markdown, no line of it dependent on the machine."""
    lines = [f"# Data card: {facts.run}", ""]
    for title, blocks in data_sections(facts):
        lines += [f"## {title}", "", *as_markdown(blocks)]
    return readable([*lines, "The model: MODEL_CARD.md. Every number: evaluation.json."])


def data_sections(facts: Evaluation) -> Sections:
    """The card's sections, for card and page."""
    return [
        ("Origin and licence", _origin(facts)),
        ("Period and population", _population(facts)),
        ("Labels", _labels(facts)),
        ("Fraud by week", _weeks(facts)),
        ("Splits", _splits(facts)),
        ("Data quality", data_quality(facts)),
        ("Files", _files(facts)),
    ]


def _origin(facts: Evaluation) -> list[Block]:
    return [
        table(
            "Where the data comes from",
            ["", ""],
            [
                ["origin", given(facts.card, "data_origin")],
                ["licence", given(facts.card, "data_licence")],
            ],
        )
    ]


def _population(facts: Evaluation) -> list[Block]:
    q, held = facts.quality, facts.contents
    rows = [
        ["first transaction", q.from_],
        ["last transaction", q.to],
        ["transactions", count(q.rows)],
        ["terminals", count(q.terminals)],
    ]
    if held is not None:
        rows += [["cards", "no column of cards" if held.cards is None else count(held.cards)]]
    out: list[Block] = [table("Contents", ["", ""], rows)]
    if held is not None:
        kinds = (
            ("currency (ISO 4217)", held.currencies),
            ("transaction type", held.transaction_types),
        )
        for name, counts in kinds:
            shown = [[value, count(n)] for value, n in [*counts.items()][:_MOST]]
            caption = f"By {name}" + (f", the {_MOST} most frequent" * (len(counts) > _MOST))
            if shown:
                out.append(table(caption, [name, "transactions"], shown))
            else:
                out.append(text(f"No row has a {name}."))
    return out


def _labels(facts: Evaluation) -> list[Block]:
    q = facts.quality
    rows = [
        ["fraud", count(q.frauds)],
        ["genuine", count(q.genuine)],
        ["unknown", count(q.unlabelled)],
    ]
    delays = {} if facts.contents is None else facts.contents.label_delay_days
    out: list[Block] = [table("Transactions by label", ["label", "transactions"], rows)]
    if delays:
        names = list(next(iter(delays.values())))
        out.append(
            table(
                "Days from the transaction until its label is known",
                ["label", *names],
                [[kind, *(fixed(v, 1) for v in found.values())] for kind, found in delays.items()],
            )
        )
    return out


def _weeks(facts: Evaluation) -> list[Block]:
    if facts.contents is None:
        return []
    return [
        table(
            "Seven days each",
            ["seven days from", "transactions", "labelled", "frauds", "share of the labelled"],
            [
                [w.begin, count(w.rows), count(w.labelled), count(w.frauds), _percent(w.share)]
                for w in facts.contents.weeks
            ],
        )
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.3f} %" if share == share else "-"


def _splits(facts: Evaluation) -> list[Block]:
    said = (
        "A part is a test period, and what was learned before it. Dates are first seconds; a split "
        "ends where the next one begins."
    )
    if facts.protocol == "halves":
        said = (
            "A part is a half of the genuine rows to learn from, drawn with a seed, and the rest."
        )
    out: list[Block] = [text(said)]
    for fold in facts.folds:
        s = fold.split
        rows = [
            ["fit", s.since, s.validation_from, *_size(s.fit)],
            ["validation", s.validation_from, s.calibration_from, *_size(s.validation)],
            ["calibration", s.calibration_from, s.labels_until or s.until, *_size(s.calibration)],
            ["test", s.until, s.test_until, *_size(s.test)],
            ["left out: label not known in time", "", "", count(s.immature_refused), ""],
            ["of those too recent for reports", "", "", count(s.too_recent), ""],
        ]
        if facts.protocol == "halves":
            rows = [[row[0], "drawn", "", *row[3:]] for row in rows[:4]]
        head = ["split", "from", "to", "transactions", "frauds"]
        out.append(table(f"Part {fold.name}", head, rows))
    return out


def _size(size: SliceSize) -> list[str]:
    return [count(size.rows), count(size.frauds)]


def _files(facts: Evaluation) -> list[Block]:
    return [
        table("Sizes", ["file", "bytes"], [[f.name, count(f.bytes)] for f in facts.data.files]),
        table("SHA-256", ["file", "digest"], [[f.name, f.digests] for f in facts.data.files]),
    ]
