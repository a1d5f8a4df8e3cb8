# SPDX-License-Identifier: Apache-2.0
"""Captures made of simulated transactions: ISO 8583 messages, written by pyiso8583, and TLV data,
with the table that they say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import iso8583
import pyarrow as pa

from tinyfin.captures.iso8583 import load_dialect
from tinyfin.config import Simulate
from tinyfin.data.cards import is_luhn
from tinyfin.data.tokens import hash_of, token_of
from tinyfin.simulator import simulate

KEY = bytes(range(32))
PUBLIC_PAN = "4532015112830366"
"""Of nobody; it passes the Luhn check."""

ENTRY = {
    "contactless_chip": "07",
    "chip": "05",
    "contactless_stripe": "91",
    "stripe": "90",
    "fallback": "80",
    "keyed": "01",
    "credential_on_file": "10",
}
TYPE = {
    "purchase": "00",
    "cash": "01",
    "cashback": "09",
    "refund": "20",
    "void": "02",
    "preauth": "00",
    "forced_post": "00",
}
CVM = {
    "online_pin": "9F3403020302",
    "offline_pin": "9F3403410302",
    "cdcvm": "9F6C020080",
    "signature": "9F34031E0300",
    "none": "9F34031F0302",
    "failed": "9F3403020301",
}
UNSAID = (
    "id",
    "offline",
    "queued_minor",
    "link_downs",
    "boots",
    "tamper_flags",
    "chip_failures",
    "bin_hash",
    "operator_hash",
    "expiry_hash",
    "label",
    "scenario",
)
"""Columns of which no message speaks, or no file may hold."""


def tlv(tag: str, value: str) -> str:
    """A data object, both sides in hexadecimal digits."""
    size = len(value) // 2
    length = f"{size:02X}" if size < 128 else f"81{size:02X}" if size < 256 else f"82{size:04X}"
    return f"{tag}{length}{value}"


def luhn(digits: str) -> str:
    """The digits with their check digit."""
    return next(digits + digit for digit in "0123456789" if is_luhn(digits + digit))


def pan_of(token: int) -> str:
    """A card number that nobody has given out, one for each token."""
    return luhn(f"4{token % 10**14:014d}")


@cache
def rows(seed: int, days: int = 3) -> tuple[dict[str, Any], ...]:
    """Simulated transactions; of every ten that were approved online, one ends otherwise."""
    settings = Simulate(terminals=3, days=days, seed=seed, attacks={"forced_post": 20.0})
    found = tuple(simulate(settings).to_pylist())
    approved = [row for row in found if row["response"] == 0]
    for row in approved[::30]:
        row |= {"result": "timed_out", "response": None}
    for row in approved[10::30]:
        row |= {"result": "reversed"}
    for row in approved[20::30]:
        row |= {"result": None, "response": None, "outcome_time": None}
    return found


def said(row: dict[str, Any]) -> dict[str, Any]:
    """What a capture says of a row: with tokens of its card number, and without UNSAID."""
    out = {name: value for name, value in row.items() if name not in UNSAID}
    if out["token"] is not None:
        out["token"] = token_of(pan_of(row["token"]), KEY)
    if row["result"] == "cancelled":
        out["result"] = "timed_out"
    if row["approval_hash"] is not None:
        out["approval_hash"] = hash_of(code(row))
    if is_advice(row):
        out["outcome_time"] = out["time"]
    return out


def table(transactions: Iterable[dict[str, Any]]) -> pa.Table:
    """What :func:`said` says of all rows."""
    town = simulate(Simulate(terminals=1, days=1, seed=1)).schema
    kept = pa.schema([field for field in town if field.name not in UNSAID])
    return pa.Table.from_pylist([said(row) for row in transactions], schema=kept)


def code(row: dict[str, Any]) -> str:
    return f"{row['approval_hash'] % 10**6:06d}"


def is_advice(row: dict[str, Any]) -> bool:
    return row["result"] in ("approved", "declined") and row["response"] is None


def icc(row: dict[str, Any]) -> str:
    """DE55 in hexadecimal digits, in a template as some networks have it."""
    found = tlv("9F1B", f"{row['floor_limit_minor']:08X}")
    for name, tag, digits in (("tvr", "95", 10), ("atc", "9F36", 4)):
        if row[name] is not None:
            found += tlv(tag, f"{row[name]:0{digits}X}")
    found += CVM.get(row["cvm"], "")
    return tlv("77", found)


def request(row: dict[str, Any], number: int, separator: str = "=") -> dict[str, str]:
    """The message that asks for a transaction, as pyiso8583 takes it."""
    found = {
        "t": "0220" if is_advice(row) else "0200",
        "3": TYPE[row["transaction_type"]] + "0000",
        "4": f"{row['amount_minor']:012d}",
        "7": f"{row['time']:%m%d%H%M%S}",
        "11": f"{row['stan']:06d}",
        "12": f"{row['time']:%H%M%S}",
        "13": f"{row['time']:%m%d}",
        "18": f"{row['mcc']:04d}",
        "25": "06" if row["transaction_type"] == "preauth" else "00",
        "37": f"{number:012d}",
        "41": row["terminal"],
        "49": f"{row['currency']:03d}",
        "55": icc(row),
    }
    if row["entry_mode"] is not None:
        found["22"] = ENTRY[row["entry_mode"]] + "1"
    if row["token"] is not None and row["entry_mode"] == "stripe":
        found["35"] = f"{pan_of(row['token'])}{separator}2912201"
    elif row["token"] is not None:
        found["2"] = pan_of(row["token"])
    if row["transaction_type"] == "forced_post":
        found["38"] = code(row)
    elif is_advice(row):
        found["39"] = "Y1" if row["result"] == "approved" else "Z1"
    return found


def capture(transactions: Sequence[dict[str, Any]], dialect: str) -> list[bytes]:
    """All messages of transactions, in the order of time."""
    spec = load_dialect(dialect).spec
    events: list[tuple[dt.datetime, dict[str, str]]] = []
    for number, row in enumerate(transactions, 1):
        asked = request(row, number, "D" if dialect == "bcd" else "=")
        kept = {key: asked[key] for key in ("3", "4", "11", "37", "41")}
        when = row["outcome_time"] or row["time"]
        kept["7"] = f"{when:%m%d%H%M%S}"
        events.append((row["time"], asked))
        if row["response"] is not None:
            events.append((when, {"t": "0210", **kept, "39": f"{row['response']:02d}"}))
        if row["result"] in ("timed_out", "cancelled", "reversed"):
            original = f"0200{asked['11']}{asked['7']}".ljust(42, "0")
            reversal = {"t": "0420", **kept, "11": f"{number % 10**6:06d}", "90": original}
            events.append((when, reversal))
    events.sort(key=lambda event: event[0])
    return [bytes(iso8583.encode(message, spec)[0]) for _, message in events]


def tlv_of(row: dict[str, Any]) -> bytes:
    """The data objects of a kernel after the transaction."""
    found = tlv("9F02", f"{row['amount_minor']:012d}") + tlv("9C", TYPE[row["transaction_type"]])
    found += tlv("5F2A", f"{row['currency']:04d}") + tlv("9F15", f"{row['mcc']:04d}")
    found += tlv("9A", f"{row['time']:%y%m%d}") + tlv("9F21", f"{row['time']:%H%M%S}")
    found += tlv("9F1C", row["terminal"].encode().hex()) + icc(row)
    if row["entry_mode"] is not None:
        found += tlv("9F39", ENTRY[row["entry_mode"]])
    if row["token"] is not None:
        found += tlv("5A", pan_of(row["token"]))
    if row["response"] is not None:
        found += tlv("8A", f"{row['response']:02d}".encode().hex())
    return bytes.fromhex(found)


def framed(messages: Iterable[bytes]) -> bytes:
    """A binary capture."""
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def lines(messages: Iterable[bytes]) -> bytes:
    """A capture of hexadecimal lines."""
    return b"".join(message.hex().encode() + b"\n" for message in messages)
