# SPDX-License-Identifier: Apache-2.0
"""A card number that stands in the wrong element or tag comes out of nothing that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import iso8583
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import captures
from tests.support.captures import PUBLIC_PAN as PAN
from tests.support.captures import tlv
from tinyfin.captures import convert, join
from tinyfin.captures.iso8583 import DIALECTS, Dialect, load_dialect
from tinyfin.errors import DataError

BASE = {"3": "000000", "4": "000000001999", "7": "0314153000", "11": "000007", "41": "T0000001"}
CARDS = ("2", "35", "36", "45", "5A", "57")
TAGS = {"9F02": 12, "9F1B": 8, "9F1C": 16, "9A": 6, "9F21": 6, "95": 10, "89": 12, "8A": 4}
ELEMENTS = [n for n in range(3, 129) if n not in (35, 36, 45, 55, 65)]
PANS = st.from_regex(r"[1-9][0-9]{11,18}", fullmatch=True)


def wide(dialect: str) -> Dialect:
    """With 20 characters for the texts that are written."""
    spec = {name: dict(field) for name, field in load_dialect(dialect).spec.items()}
    for name in ("37", "41"):
        spec[name] |= {"max_len": 20, "len_type": 1 if dialect == "bcd" else 2}
    return Dialect(spec)


def planted(pan: str, card: str, place: int | str, dialect: Dialect, *, end: bool) -> bytes:
    """A message with the card number, and once more in an element or a tag, cut to its size."""
    found: dict[str, Any] = {"t": "0200", **BASE, "55": ""}

    def cut(size: int) -> str:
        return (pan[-size:] if end else pan[:size]).rjust(size, "0")

    if isinstance(place, int):
        field = dialect.spec[str(place)]
        size = field["max_len"]
        if field["data_enc"] == "b" and field.get("len_count") != "nibbles":
            found[str(place)] = cut(20 if field["len_type"] else 2 * size)
        else:
            found[str(place)] = cut(min(size, len(pan)) if field["len_type"] else size)
    else:
        found["55"] += tlv(place, cut(TAGS[place]))
    if place == "9F1C":
        del found["41"]
    if card == "45":
        found[card] = f"B{pan}^A/B^29122010"
    elif card not in ("5A", "57"):
        found[card] = pan if card == "2" else f"{pan}D29122010"
    else:
        text = pan if card == "5A" else f"{pan}D29122010"
        found["55"] += tlv(card, text + "F" * (len(text) % 2))
    return bytes(iso8583.encode({k: v for k, v in found.items() if v}, dialect.spec)[0])


def said(folder: Path, data: bytes, dialect: Dialect | None) -> str:
    """Everything that converting it, behind a good message, writes or says, in each way in which
    digits can be read."""
    if dialect is None:
        good = tlv("9F1C", b"T0000001".hex()) + tlv("9A", "250314") + tlv("9F21", "153000")
        first = bytes.fromhex(good)
    else:
        first = bytes(iso8583.encode({"t": "0200", **BASE}, dialect.spec)[0])
    (folder / "a.cap").write_bytes(captures.framed([first, data]))
    out, aside = folder / "o.parquet", folder / "bad.csv"
    out.unlink(missing_ok=True)
    try:
        facts = convert(
            [folder / "a.cap"],
            out,
            token_key=captures.KEY,
            dialect=dialect,
            year=2025,
            skip_bad_rows=aside,
        )
        words = [str(facts)]
    except DataError as error:
        words = [str(error)]
    words += [aside.read_text()] if aside.exists() else []
    for row in pq.read_table(out).to_pylist() if out.exists() else ():
        row.pop("token", None)
        for value in row.values():
            words.append(str(value))
            if isinstance(value, str):
                words += [value.encode().hex(), value.encode("latin-1", "replace").hex()]
            elif isinstance(value, int):
                words.append(f"{value:x}")
            elif value is not None:
                words.append(f"{value:%y%m%d%H%M%S}")
    return "\n".join(words)


def comes_out(pan: str, text: str) -> bool:
    runs = (pan[i : i + 10] for i in range(len(pan) - 9))
    return any(run in text for run in runs if len(run.strip("0")) > 3)


@settings(max_examples=120, deadline=None)
@given(
    pan=PANS,
    card=st.sampled_from(CARDS),
    place=st.sampled_from([*ELEMENTS, 37, 37, 41, 41, 4, *TAGS]),
    dialect=st.sampled_from(DIALECTS),
    end=st.booleans(),
)
def test_no_planted_card_number_comes_out(
    pan: str,
    card: str,
    place: int | str,
    dialect: str,
    end: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("planted")
    for spec in (load_dialect(dialect), wide(dialect)):
        data = planted(pan, card, place, spec, end=end)
        assert not comes_out(pan, said(folder, data, spec))


@pytest.mark.parametrize(
    ("pan", "place", "what"),
    [
        ("501234567891", 37, "DE37 holds digits of the card number"),
        ("501234567891", 4, "DE4 holds digits of the card number"),
        ("501234567891", 41, ""),
        (PAN, 37, "DE37 holds digits of the card number"),
        (PAN, "9F1C", "tag 9F1C holds characters that cannot be printed"),
        ("5555555555554444", "9F1C", "tag 9F1C holds digits of the card number"),
        (PAN, "95", "tag 95 holds digits of the card number"),
        ("5000000000001234", "9F02", ""),
    ],
)
def test_where_it_was_found_is_said(
    pan: str, place: int | str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = load_dialect("ascii")
    data = planted(pan, "5A", place, dialect, end=False)
    text = said(tmp_path, data, dialect)
    assert what in text
    assert ("'bad': 1" in text) == bool(what)
    monkeypatch.setattr(join, "require_no_card", lambda _: None)
    assert comes_out(pan, said(tmp_path, data, dialect)) == bool(what)


def test_another_card_number_in_the_chip_data_is_found(tmp_path: Path) -> None:
    dialect = load_dialect("ascii")
    found = {"t": "0200", **BASE, "2": "501234567891", "37": PAN[:12], "55": tlv("5A", PAN)}
    data = bytes(iso8583.encode(found, dialect.spec)[0])
    assert "DE37 holds digits of the card number" in said(tmp_path, data, dialect)


def test_tlv_data_alone(tmp_path: Path) -> None:
    data = bytes.fromhex(
        tlv("5A", PAN) + tlv("9F1C", PAN) + tlv("9A", "250314") + tlv("9F21", "153000")
    )
    text = said(tmp_path, data, None)
    assert "tag 9F1C holds characters" in text
    assert not comes_out(PAN, text)
