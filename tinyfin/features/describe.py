# SPDX-License-Identifier: Apache-2.0
"""What a feature is and costs, as one row; and the tables of docs/features.md that are made of it.

``python -m tinyfin.features.describe TABLE`` prints one: ``catalogue``, ``reasons`` (both of the
catalogue), or ``functions``, what own features may call.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

from tinyfin.features.catalogue import FEATURES, REASONS, reason_code, reason_text
from tinyfin.features.compiler import compile_program
from tinyfin.features.definition import Feature
from tinyfin.features.operators import LABELLED
from tinyfin.features.own_features import FUNCTIONS
from tinyfin.schema import PAYMENT_HOST_ODDS, Schema

__all__ = ["TABLES", "describe", "markdown", "reasons_text"]


def describe(features: Sequence[Feature], schema: Schema) -> list[dict[str, Any]]:
    """One row per feature, its bytes those that it takes alone."""
    return [_row(feature, schema) for feature in features]


def _row(feature: Feature, schema: Schema) -> dict[str, Any]:
    program = compile_program([feature], schema)
    if LABELLED & set(program.operators):
        moment = "after a notice"
    else:
        moment = "R" if feature.moment == "after" else "P"  # it learns responses, or only events
    above, below = feature.reasons
    return {
        "name": feature.name,
        "id": feature.id,
        "definition": feature.definition,
        "moment": moment,
        "catches": feature.catches,
        "reason": reason_code(feature.reason) if feature.reason else None,
        "reason_text": reason_text(feature.reason, feature.texts),
        "reason_above": reason_code(above) if above else None,
        "reason_below": reason_code(below) if below else None,
        "fields": list(feature.fields),
        "operators": list(program.operators),
        "terminal_bytes": program.terminal_state_bytes + program.label_ring_bytes,
        "card_bytes": program.card_slot_bytes,
        "pending_bytes": program.pending_entry_bytes - 24,
    }


def reasons_text(row: dict[str, Any]) -> str:
    """The reasons of a feature, and on which side of its usual value each is given."""
    above, below = row["reason_above"], row["reason_below"]
    if above == below:
        return above or ""
    given = ((above, "above"), (below, "below"))
    return ", ".join(f"{code} {side}" for code, side in given if code)


def _catalogue(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| feature | id | definition | known | B | B per card | reason | catches |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            f"`{row['name']}`",
            row["id"],
            row["definition"],
            row["moment"],
            row["terminal_bytes"],
            row["card_bytes"] or "",
            reasons_text(row),
            row["catches"],
        )
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _reasons(rows: list[dict[str, Any]]) -> str:
    lines = ["| reason | text | given for |", "|---|---|---|"]
    for number, text in REASONS.items():
        code = reason_code(number)
        given = []
        for row in rows:
            sides = [side for side in ("above", "below") if row[f"reason_{side}"] == code]
            if sides:
                given.append(f"`{row['name']}`" + (f" {sides[0]}" if len(sides) == 1 else ""))
        lines.append(f"| {code} | {text} | {', '.join(given)} |")
    return "\n".join(lines)


def _functions(_: list[dict[str, Any]]) -> str:
    lines = ["| function | what it is |", "|---|---|"]
    for name, function in FUNCTIONS.items():
        parts = []
        for parameter in inspect.signature(function).parameters.values():
            default = parameter.default
            if default is parameter.empty:
                parts.append(parameter.name)
            elif parameter.name == "when":
                parts.append("when=all" if len(default) == 5 else f"when={list(default)}")
            else:
                parts.append(f"{parameter.name}={default}")
        words = " ".join((function.__doc__ or "").split("\n\n")[0].replace("``", "`").split())
        lines.append(f"| `{name}({', '.join(parts)})` | {words} |")
    return "\n".join(lines)


TABLES = {"catalogue": _catalogue, "reasons": _reasons, "functions": _functions}


def markdown(table: str) -> str:
    """A table of docs/features.md, one of :data:`TABLES`."""
    return TABLES[table](describe(FEATURES, PAYMENT_HOST_ODDS))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TABLES:
        sys.exit(f"usage: python -m tinyfin.features.describe {'|'.join(TABLES)}")
    print(markdown(sys.argv[1]))
