# SPDX-License-Identifier: Apache-2.0
"""What the issuers answered, up to the transaction before."""

from __future__ import annotations

from tinyfin.features.catalogue.base import ANSWERED, DECLINED
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import is_in, last_n, outcome, run

__all__ = ["FEATURES"]

_INVALID = is_in(outcome("response"), (14, 15, 54, 56))
_HARD = is_in(outcome("response"), (4, 7, 34, 41, 43, 59))

FEATURES: tuple[Feature, ...] = (
    Feature(
        "decl_ratio_16",
        19,
        11,
        "16 * declines among the last 16 answers",
        "card testing",
        "after",
        last_n("terminal", 16, DECLINED, when=ANSWERED) * 16,
        side="above",
        neutral=0,
    ),
    Feature(
        "decl_run",
        20,
        11,
        "declines in a row",
        "card testing",
        "after",
        run("terminal", DECLINED, when=ANSWERED),
        side="above",
        neutral=0,
    ),
    Feature(
        "decl_inv",
        21,
        12,
        "responses 14, 15, 54, 56 among the last 16 answers",
        "enumeration (invalid numbers)",
        "after",
        last_n("terminal", 16, _INVALID, when=ANSWERED),
        side="above",
        neutral=0,
    ),
    Feature(
        "decl_hard",
        22,
        13,
        "responses 04, 07, 34, 41, 43, 59 among the last 32 answers",
        "stolen cards, BIN attack",
        "after",
        last_n("terminal", 32, _HARD, when=ANSWERED),
        side="above",
        neutral=0,
    ),
)
