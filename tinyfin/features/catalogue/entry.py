# SPDX-License-Identifier: Apache-2.0
"""How the card was read and the holder verified."""

from __future__ import annotations

from tinyfin.features.catalogue.base import CAP_S, KEYED
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import (
    ALWAYS,
    APPROVED,
    either,
    field,
    is_value,
    last_n,
    lookup_value,
    mean,
    popcount,
    present,
    run,
    share,
    since,
)

__all__ = ["FEATURES"]

_RISK = {
    "contactless_chip": 0,
    "chip": 1,
    "contactless_stripe": 2,
    "stripe": 3,
    "credential_on_file": 4,
    "fallback": 5,
    "keyed": 6,
}
_CVM = {"online_pin": 0, "offline_pin": 1, "cdcvm": 2, "signature": 3, "none": 4, "failed": 5}
_FALLBACK = is_value("entry_mode", "fallback")
_CHIP_TRIED = is_value("entry_mode", "chip", "fallback")
_FAILED = field("chip_failures") > 0
_NO_CHIP = is_value("entry_mode", "stripe", "fallback", "keyed")

# TVR bytes 1 to 5: data authentication; versions, expiry; holder; velocity; issuer authentication
_TVR_BITS = 0x7E_50_F8_60_40

FEATURES: tuple[Feature, ...] = (
    Feature(
        "entry_risk",
        24,
        15,
        "contactless chip 0, chip 1, contactless stripe 2, stripe 3, on file 4, fallback 5, "
        "keyed 6; -1 unknown",
        "mode abuse",
        "before",
        lookup_value("entry_mode", _RISK, outside=-1),
        side="above",
        neutral=1,
    ),
    Feature(
        "entry_rare",
        25,
        16,
        "256 * (1 - exponential share (shift 6) of this entry mode among approved)",
        "first keyed sale at a chip shop",
        "before",
        share("terminal", field("entry_mode"), classes=7, shift=6, when=APPROVED),
        side="above",
        neutral=220,
    ),
    Feature(
        "fb_rate",
        26,
        17,
        "256 * exponential share (shift 4) of fallbacks among chip and fallback attempts",
        "fallback fraud, sick reader",
        "before",
        mean("terminal", _FALLBACK * 256, shift=4, where=_CHIP_TRIED, when=ALWAYS),
        side="above",
        neutral=0,
    ),
    Feature(
        "fb_16",
        126,
        17,
        "fallbacks among the last 16, this one included",
        "fallback fraud",
        "before",
        last_n("terminal", 16, _FALLBACK, itself=True),
        side="above",
        neutral=0,
    ),
    Feature(
        "keyed_run",
        27,
        18,
        "keyed transactions in a row, this one included",
        "takeover",
        "before",
        run("terminal", KEYED, itself=True),
        side="above",
        neutral=1,
    ),
    Feature(
        "chip_fail_then",
        28,
        17,
        "for stripe, fallback and keyed: seconds since a failed chip read (0: right before "
        "this transaction), at most 32767; else 32767",
        "forced fallback",
        "before",
        either(_NO_CHIP, either(~_FAILED, since("terminal", cap_s=CAP_S, where=_FAILED), 0), CAP_S),
        side="below",
    ),
    Feature(
        "chip_fails",
        128,
        17,
        "failed chip reads right before this transaction",
        "forced fallback",
        "before",
        field("chip_failures"),
        side="above",
        neutral=0,
    ),
    Feature(
        "cvm_weak",
        29,
        19,
        "online PIN 0, offline PIN 1, on the device 2, signature 3, none 4, failed 5; -1 unknown",
        "lost and stolen cards",
        "before",
        lookup_value("cvm", _CVM, outside=-1),
        side="above",
        neutral=2,
    ),
    Feature(
        "tvr_pop",
        30,
        20,
        "number of TVR bits (tag 95) among B1 b7-b2, B2 b7 b5, B3 b8-b4, B4 b7 b6, B5 b7",
        "counterfeit, wedge",
        "before",
        popcount(field("tvr"), _TVR_BITS),
        side="above",
        neutral=0,
    ),
    Feature(
        "has_cvm",
        129,
        0,
        "1 when the verification is known",
        "data quality",
        "before",
        present("cvm"),
    ),
)
