# SPDX-License-Identifier: Apache-2.0
"""What the terminal went through: link, queue, clock, numbering, restarts, tamper, operators."""

from __future__ import annotations

from tinyfin.features.catalogue.base import CAP_S, KEYED, growth
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import (
    ALWAYS,
    APPROVED,
    DAY_S,
    HOUR_S,
    absolute,
    all_of,
    any_of,
    const,
    either,
    field,
    is_value,
    local_time,
    log2,
    popcount,
    present,
    previous,
    ratio,
    run,
    since,
    smaller,
    window,
)

__all__ = ["FEATURES"]

_OFFLINE = is_value("offline", "yes")
_LOCAL = local_time()
_STAN = field("stan")
_STAN_BEFORE = previous("terminal", _STAN, otherwise=-1, where=present("stan"))
_EXPECTED = either(_STAN_BEFORE >= 999_999, const(1), _STAN_BEFORE + 1)
_OPERATOR = field("operator_hash")
_OPERATOR_BEFORE = previous("terminal", _OPERATOR, otherwise=-1, where=present("operator_hash"))
_CHANGED = all_of(
    present("operator_hash"), _OPERATOR_BEFORE >= 0, absolute(_OPERATOR - _OPERATOR_BEFORE) > 0
)
_BOOTED = growth("boots") > 0
_SUPERVISOR = is_value("transaction_type", "refund", "void", "forced_post")

FEATURES: tuple[Feature, ...] = (
    Feature(
        "offline_run",
        38,
        27,
        "approved offline transactions in a row, this one included",
        "offline burst",
        "before",
        run("terminal", _OFFLINE, itself=True, when=APPROVED),
        side="above",
        neutral=1,
    ),
    Feature(
        "saf_fill",
        138,
        28,
        "64 * total waiting in the queue / floor limit, at most 16384; 0 without a limit",
        "offline burst",
        "before",
        smaller(ratio(field("queued_minor"), field("floor_limit_minor"), scale=64), 16384),
        side="above",
        neutral=0,
    ),
    Feature(
        "saf_log",
        139,
        28,
        "round(256 * log2(1 + total waiting in the queue))",
        "offline burst",
        "before",
        log2(field("queued_minor")),
        side="above",
        neutral=0,
    ),
    Feature(
        "link_flap",
        39,
        29,
        "times the link went down in the last hour",
        "jamming, unplugging",
        "before",
        window(
            "terminal", seconds=HOUR_S, buckets=6, value=growth("link_downs"), itself=True, width=1
        ),
        side="above",
        neutral=0,
    ),
    Feature(
        "clk_back",
        40,
        30,
        "1 when the wall clock is more than 60 s behind the transaction before",
        "clock rollback",
        "before",
        previous("terminal", _LOCAL, otherwise=0, when=ALWAYS) > (_LOCAL + 60),
        side="above",
        neutral=0,
    ),
    Feature(
        "stan_gap",
        41,
        31,
        "distance of the STAN from the expected one, at most 255; 0 when unknown",
        "injected or lost transactions, clone",
        "before",
        either(
            all_of(present("stan"), _STAN_BEFORE >= 0), smaller(absolute(_STAN - _EXPECTED), 255), 0
        ),
        side="above",
        neutral=0,
    ),
    Feature(
        "boot_recent",
        42,
        32,
        "starts of the terminal in the last 24 h",
        "glitching, swap",
        "before",
        window("terminal", seconds=DAY_S, buckets=6, value=growth("boots"), itself=True, width=1),
        side="above",
        neutral=0,
    ),
    Feature(
        "boot_gap_s",
        142,
        32,
        "seconds since the transaction with which a start of the terminal was noticed (0: "
        "this one), at most 32767 and when none was",
        "glitching, swap",
        "before",
        either(~_BOOTED, since("terminal", cap_s=CAP_S, where=_BOOTED), 0),
        side="below",
    ),
    Feature(
        "tamper_bits",
        43,
        33,
        "number of tamper, cover and mesh bits latched",
        "skimmer, opened case",
        "before",
        popcount(field("tamper_flags"), 0xFFFF_FFFF),
        side="above",
        neutral=0,
    ),
    Feature(
        "op_change",
        44,
        34,
        "1 for a refund, void or forced post with, or within 600 s after, a change of the operator",
        "insider",
        "before",
        all_of(_SUPERVISOR, any_of(_CHANGED, since("terminal", cap_s=CAP_S, where=_CHANGED) < 600)),
        side="above",
        neutral=0,
    ),
    Feature(
        "exceptions_8h",
        240,
        42,
        "keyed transactions, refunds, voids and forced posts in the last 8 h, this one included",
        "insider",
        "before",
        window(
            "terminal",
            seconds=8 * HOUR_S,
            buckets=8,
            where=any_of(KEYED, _SUPERVISOR),
            itself=True,
            width=1,
        ),
        side="above",
        neutral=1,
    ),
)
