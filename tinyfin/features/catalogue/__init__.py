# SPDX-License-Identifier: Apache-2.0
"""Named features. Adding one is one entry in the file of its kind; ids and reasons are for ever.

Sets are ordered: the order is that of the model's inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinyfin.features.catalogue import (
    amounts,
    cards,
    device,
    entry,
    host,
    labels,
    refunds,
    responses,
    rhythm,
)
from tinyfin.features.catalogue.reasons import REASONS, reason_code, reason_text
from tinyfin.features.definition import Feature

__all__ = [
    "ALL",
    "AUTO",
    "BY_NAME",
    "DEFAULT",
    "FEATURES",
    "HOST",
    "HOST_ODDS",
    "LABEL_FREE",
    "REASONS",
    "SETS",
    "STREAM",
    "reason_code",
    "reason_text",
]

FEATURES: tuple[Feature, ...] = (
    *amounts.FEATURES,
    *rhythm.FEATURES,
    *cards.FEATURES,
    *responses.FEATURES,
    *entry.FEATURES,
    *refunds.FEATURES,
    *device.FEATURES,
    *labels.FEATURES,
    *host.FEATURES,
)

BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in FEATURES}

DEFAULT: tuple[str, ...] = (
    "amt_log",
    "amt_dev",
    "amt_round",
    "amt_small_16",
    "amt_repeat",
    "amt_to_floor",
    "gap_s",
    "rate_60",
    "rate_900_dev",
    "hour_rare",
    "tok_seen_cnt",
    "tok_gap_s",
    "tok_distinct_300",
    "new_tok_share",
    "decl_ratio_16",
    "decl_run",
    "decl_inv",
    "entry_risk",
    "entry_rare",
    "keyed_run",
    "chip_fail_then",
    "refund_ratio",
    "refund_unlinked",
    "forced_reuse",
    "offline_run",
    "saf_fill",
    "link_flap",
    "known_last",
    "known_rate_28d",
)
"""For payment data: card testing, fallback, takeover, refunds, offline bursts, notices.

No feature of it reads a field that lives in RAM only, so a restored terminal goes on exactly where
it stopped; ``bin_conc`` begins again after a restart.
"""

STREAM: tuple[str, ...] = (
    "amt_log",
    "amt_over_learned",
    "amt_to_avg",
    "amt_to_card_avg",
    "amt_to_card_mean",
    "card_visits",
    "card_age_h",
    "tok_known",
    "hour_of_day",
    "gap_s",
    "known_last",
    "known_run",
    "known_run_age_h",
    "known_age_h",
    "known_rate_14d",
    "known_rate_28d",
    "known_run2_28d",
    "known_run1_28d",
    "known_labels_28d",
    "card_known_last",
    "card_known_frauds_28d",
)
"""For data that has amount, card, time and terminal only. Plain means over months, because on such
data they say more than exponential ones; how the labels of the terminal came, because that says
most; and an amount whose cut training learns."""

COMPROMISED: tuple[str, ...] = (
    "event_odds",
    "compromised_odds",
    "compromised_ever_odds",
    "fraud_odds",
)
"""What labels say of the terminal: a fraud that its amount explains says less than another."""

OVER_DAYS: tuple[str, ...] = ("near_floor_repeat", "refund_card_repeat", "exceptions_8h")
"""Rings of the terminal that remember cards for days, and a count of exceptions in a shift."""

AUTO: tuple[str, ...] = (
    *STREAM,
    *COMPROMISED,
    *(name for name in DEFAULT if name not in STREAM),
    *OVER_DAYS,
)
"""What ``names = "auto"`` chooses from: those whose fields the file has (features/auto.py)."""

LABEL_FREE: tuple[str, ...] = (
    *(name for name in DEFAULT if not name.startswith("known_")),
    "amt_refund_log",
    "amt_to_avg",
    "amt_to_card_mean",
    "amt_to_card_avg",
)
"""For families without labels: features that merely describe would hide those that distinguish."""

HOST_ODDS: tuple[str, ...] = ("host_compromised_odds", "host_compromised_ever_odds")
"""What labels say of the card at the host, of the schema ``payment_host_odds``."""

HOST: tuple[str, ...] = tuple(f.name for f in host.FEATURES if f.name not in HOST_ODDS)
"""What an authorisation host knows of the card, of the schema ``payment_host``."""

ALL: tuple[str, ...] = tuple(f.name for f in FEATURES if f.name not in (*HOST, *HOST_ODDS))
"""All that the payment schema can feed, to see what it needs; no model wants all of it."""

SETS: Mapping[str, tuple[str, ...]] = {
    "auto": AUTO,
    "default": DEFAULT,
    "stream": STREAM,
    "host": HOST,
    "all": ALL,
}
