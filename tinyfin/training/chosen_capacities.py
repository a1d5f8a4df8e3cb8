# SPDX-License-Identifier: Apache-2.0
"""Sizes of a terminal's label ring and card table, chosen from the data within a number of bytes.

The ring is large enough to keep every label that features look back on, or takes an eighth of the
bytes. The card table is large enough to keep every card that they look back on, or takes the bytes
that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tinyfin.config.sections import Features
from tinyfin.data.events import Notices
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError
from tinyfin.features.compiler import Program, compile_program
from tinyfin.formats import ProgramHeader
from tinyfin.schema import Schema
from tinyfin.training.capacities import MOST, CapacityRows, LookBack

__all__ = ["choose_capacities", "left_open"]

_USUAL_BYTES = 16 << 10
"""Without ``max_state``: half of the RAM of a small Cortex-M4."""
_LABEL_BYTES = 8
_RING_PART = 8
_WAYS = 4
"""Cards in a set at least, where there is space for as many."""


def choose_capacities(
    features: Features,
    schema: Schema,
    tx: Transactions,
    notices: Notices,
    *,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """``terminal_labels``, ``card_sets`` and ``card_ways`` as far as the section does not give
    them, for transactions ``tx`` with the labels that are known, so that the state takes
    ``max_state`` bytes at most.

    Without ``max_state`` the limit is 16 kB, and nothing is chosen where the default and the given
    capacities already take more. Raises ConfigError when the features take more than ``max_state``
    with the smallest tables.
    """
    most_bytes = features.max_state or _USUAL_BYTES

    def program(changes: Mapping[str, int]) -> Program:
        return compile_program(features, schema, **{**features.capacities, **changes})

    usual = program({})
    if features.max_state is None and usual.state_bytes > most_bytes:
        return {}
    header, look = ProgramHeader.read(usual.payload), LookBack.of(usual.payload)
    rows = CapacityRows.of(tx, notices)
    free = left_open(features, usual)
    found: dict[str, int] = {}
    if "terminal_labels" in free:
        enough = max(rows.terminal_labels(look), usual.terminal_labels)
        fits = max(1, most_bytes // _RING_PART // _LABEL_BYTES)
        found["terminal_labels"] = min(enough, MOST["terminal_labels"], fits)
    if "card_sets" in free:
        without = program(found).state_bytes - usual.card_table_bytes
        fits = max(1, (most_bytes - without) // usual.card_slot_bytes)
        found |= _cards(rows.enough("cards", look, header), usual, fits)
    now = program(found)
    if now.state_bytes > most_bytes:
        raise ConfigError(
            f"features.max_state: {len(now.feature_names)} features take {now.state_bytes:,} bytes "
            f"of state, more than {most_bytes:,}; name fewer, give smaller capacities, or allow "
            "more"
        )
    sizes = "".join(f", {key} = {value}" for key, value in found.items())
    note(f"state of a terminal: {now.state_bytes:,} bytes, at most {most_bytes:,}{sizes}")
    return found


def left_open(features: Features, program: Program) -> list[str]:
    """The capacities of the program's tables that the section does not give."""
    given = features.model_fields_set
    labels = program.terminal_labels and "terminal_labels" not in given
    cards = program.card_sets and not given & {"card_sets", "card_ways"}
    return [*["terminal_labels"] * bool(labels), *["card_sets", "card_ways"] * bool(cards)]


def _cards(enough: Mapping[str, int], usual: Program, fits: int) -> dict[str, int]:
    """Sets and ways of a table with ``enough`` cards, and no fewer than usual, or with the
    ``fits`` cards that there is space for if that is less."""
    least = {"card_sets": usual.card_sets, "card_ways": usual.card_ways}
    wanted = max(dict(enough), least, key=_cards_of)
    if _cards_of(wanted) <= fits and wanted["card_sets"] <= MOST["card_sets"]:
        return wanted
    sets = min(1 << max(0, (fits // _WAYS).bit_length() - 1), MOST["card_sets"])
    return {"card_sets": sets, "card_ways": min(fits // sets, MOST["card_ways"])}


def _cards_of(keys: Mapping[str, int]) -> int:
    return keys["card_sets"] * keys["card_ways"]
