# SPDX-License-Identifier: Apache-2.0
"""What a message says of a transaction, and the row of the payment schema that it gives.

The same rules as in ``tinyfin_emv.h``, which the tests compare, but for the hashes of BIN and
expiry date: no file holds these next to the token.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

from tinyfin.captures.messages import Unreadable
from tinyfin.data.cards import hide_pans
from tinyfin.data.rows import APPROVED_RESPONSES
from tinyfin.data.tokens import hash_of, token_of

__all__ = [
    "CARDS",
    "Elements",
    "NoPayment",
    "Row",
    "Value",
    "answer_of",
    "card_of",
    "number_of",
    "require_no_card",
    "row_of",
]


class Value(NamedTuple):
    """Digits, characters, or the hexadecimal digits of bytes; ``what``: "DE4" or "tag 9F02"."""

    text: str
    what: str


Elements = dict[str, Value]
"""By name; tags and data elements that mean the same have one name."""

Row = dict[str, int | str | dt.datetime | None]
"""A transaction, by names of the payment schema and of the readers."""


class NoPayment(Exception):
    """A message that is no transaction of the schema; its text says of which kind it is."""


_ENTRY_MODES = {
    "07": "contactless_chip",
    "05": "chip",
    "95": "chip",
    "91": "contactless_stripe",
    "02": "stripe",
    "90": "stripe",
    "80": "fallback",
    "01": "keyed",
    "79": "keyed",
    "10": "credential_on_file",
}
_TYPES = {
    "00": "purchase",
    "01": "cash",
    "17": "cash",
    "09": "cashback",
    "20": "refund",
    "02": "void",
    "22": "void",
}
_CVMS = {
    0x00: "failed",
    0x01: "offline_pin",
    0x03: "offline_pin",
    0x04: "offline_pin",
    0x05: "offline_pin",
    0x02: "online_pin",
    0x1E: "signature",
    0x1F: "none",
    0x3F: "none",
}
_TC, _AAC = 0x40, 0x00

CARDS = ("pan", "track_2", "chip_pan", "chip_track_2", "track_1", "track_3")
"""Elements that are card numbers; none of them is written."""
_NUMBERS = ("amount", "floor_limit", "tvr", "sent")
_TEXTS = ("terminal", "rrn")
_TOO_MANY = 10
"""Digits in a row of a card number: more than a BIN has, and no chance."""


def row_of(elements: Elements, mti: str, key: bytes) -> Row:
    """Fields of the payment schema by name; those that are not there are left out.

    ``mti``: "0200", or "" of TLV data; ``key``: of the token (:func:`tinyfin.data.tokens.token_of`
    of the digits of the card number). Raises Unreadable, NoPayment.
    """
    row: Row = {}
    for name, element, most in (
        ("amount_minor", "amount", 10**12 - 1),
        ("mcc", "mcc", 9999),
        ("currency", "currency", 999),
        ("stan", "stan", 999_999),
    ):
        if element in elements:
            row[name] = number_of(elements[element], most)
    for name, element in (("tvr", "tvr"), ("atc", "atc"), ("floor_limit_minor", "floor_limit")):
        if element in elements:
            row[name] = int(elements[element].text, 16)
    entry = _ENTRY_MODES.get(_leading(elements.get("entry")))
    card = card_of(elements)
    row |= {
        "entry_mode": entry,
        "transaction_type": _type(elements, mti),
        "cvm": _cvm(elements, entry or ""),
        "token": token_of(card, key) if card else None,
        "approval_hash": hash_of(elements["approval"].text) if "approval" in elements else None,
    }
    return {name: value for name, value in row.items() if value is not None}


def number_of(value: Value, most: int) -> int:
    """A whole number of digits. Raises Unreadable, above ``most`` too."""
    if not re.fullmatch(r"[0-9]+", value.text):
        raise Unreadable(f"{value.what} is no number")
    number = int(value.text)
    if number > most:
        raise Unreadable(f"{value.what} is larger than {most}")
    return number


def _leading(value: Value | None) -> str:
    """The first two digits, or ""."""
    if value is None:
        return ""
    if not re.match(r"[0-9]{2}", value.text):
        raise Unreadable(f"{value.what} does not begin with two digits")
    return value.text[:2]


def _type(elements: Elements, mti: str) -> str | None:
    code = _leading(elements.get("type"))
    if not code:
        return None
    if code not in _TYPES:
        raise NoPayment(f"transaction type {code}")
    kind = _TYPES[code]
    if kind == "purchase" and "condition" in elements and number_of(elements["condition"], 99) == 6:
        return "preauth"
    advised = mti[1:3] in ("12", "22") and "approval" in elements
    answer = elements.get("response", Value("", "")).text
    if kind == "purchase" and advised and answer[:1] != "Y" and _cryptogram(elements) != _TC:
        return "forced_post"
    return kind


def _cryptogram(elements: Elements) -> int | None:
    cid = elements.get("cid")
    return None if cid is None else int(cid.text, 16) & 0xC0


def _cvm(elements: Elements, entry_mode: str) -> str | None:
    if "qualifiers" in elements and int(elements["qualifiers"].text, 16) & 0x80:
        return "cdcvm"
    if "cvm" not in elements:
        return None
    results = bytes.fromhex(elements["cvm"].text)
    if results[2] == 1:
        return "failed"
    if entry_mode.startswith("contactless") and results == b"\x01\x00\x02":
        return "cdcvm"
    return _CVMS.get(results[0] & 0x3F)


def card_of(elements: Elements) -> str:
    """The digits of the card number, or "" where there is none. Raises Unreadable."""
    if "pan" in elements:
        value = elements["pan"]
        found = re.fullmatch(r"([0-9]{8,19})F*", value.text)
    elif "track_2" in elements:
        value = elements["track_2"]
        found = re.fullmatch(r"([0-9]{8,19})[D=][0-9]*F*", value.text)
    else:
        return ""
    if found is None:
        raise Unreadable(
            f"{value.what} holds no card number of 8 to 19 digits in the form that it must have"
        )
    return found[1]


def require_no_card(elements: Elements) -> None:
    """Raises Unreadable where an element that is written holds a card number, or ten digits in a
    row of one that its message has, as characters or two in a byte."""
    said = [(elements[name].what, elements[name].text) for name in _NUMBERS if name in elements]
    for value in (elements[name] for name in _TEXTS if name in elements):
        if not value.text.isprintable():
            raise Unreadable(f"{value.what} holds characters that cannot be printed")
        if hide_pans(value.text) != value.text:
            raise Unreadable(f"{value.what} holds a card number")
        said += [(value.what, value.text), (value.what, value.text.encode().hex())]
    local = [elements[name] for name in ("date", "time") if name in elements]
    said.append((" and ".join(x.what for x in local), "".join(x.text for x in local)))
    for card in (elements[name].text for name in CARDS if name in elements):
        for what, text in said:
            if _shares_digits(re.sub(r"\W", "", text), card):
                raise Unreadable(f"{what} holds digits of the card number")


def _shares_digits(text: str, card: str) -> bool:
    runs = {text[i : i + _TOO_MANY] for i in range(len(text) - _TOO_MANY + 1)}
    return any(run in card for run in runs if run.isdigit() and len(run.strip("0")) > 3)


def answer_of(elements: Elements) -> tuple[str | None, int | None]:
    """Result and response of DE39, tag 8A or, without these, of the cryptogram (9F27)."""
    value = elements.get("response")
    if value is None:
        kind = _cryptogram(elements)
        return ("approved" if kind == _TC else "declined" if kind == _AAC else None), None
    if re.fullmatch(r"[0-9]{2}", value.text):
        code = int(value.text)
        return ("approved" if code in APPROVED_RESPONSES else "declined"), code
    if len(value.text) != 2:
        raise Unreadable(f"{value.what} has {len(value.text)} characters, not 2")
    return ("approved" if value.text in ("Y1", "Y3") else "declined"), None
