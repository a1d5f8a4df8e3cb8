# SPDX-License-Identifier: Apache-2.0
"""Messages of ISO 8583:1987, read by pyiso8583 in the dialect that their network writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tinyfin import optional_packages
from tinyfin.captures.elements import Elements, Value
from tinyfin.captures.messages import Unreadable
from tinyfin.captures.tlv import add_tags
from tinyfin.config.toml import read_toml
from tinyfin.documents import first_fault
from tinyfin.errors import ConfigError

__all__ = ["DIALECTS", "Dialect", "elements_of", "load_dialect"]

DIALECTS = ("ascii", "ascii-hex", "bcd")
"""Numbers as characters, bitmap and DE55 as bytes; everything as characters, bitmap and DE55 as
hexadecimal digits; numbers and lengths two digits in a byte."""

_NUMERIC = (*range(2, 28), 32, 33, 35, 36, 49, 50, 51, 53, *range(66, 91), 99, 100)
_NAMES = {
    2: "pan",
    3: "type",
    4: "amount",
    7: "sent",
    11: "stan",
    12: "time",
    13: "date",
    18: "mcc",
    22: "entry",
    25: "condition",
    35: "track_2",
    36: "track_3",
    37: "rrn",
    38: "approval",
    39: "response",
    41: "terminal",
    45: "track_1",
    49: "currency",
    90: "original",
    95: "replacement",
}
_Spec = dict[str, dict[str, Any]]
"""Of pyiso8583: by data element, the keys of :class:`_Element`."""


def _encoding(name: str) -> str:
    try:
        "0".encode("ascii" if name in ("b", "bcd") else name)
    except LookupError:
        raise ValueError(f"{name!r} is no encoding") from None
    return name


_Encoding = Annotated[str, AfterValidator(_encoding)]


class _Element(BaseModel):
    """How a data element is written; only what is said takes effect."""

    model_config = ConfigDict(extra="forbid", strict=True)
    data_enc: _Encoding = "ascii"
    len_enc: _Encoding = "ascii"
    len_type: int = Field(0, ge=0, le=4)
    len_count: str = "bytes"
    max_len: int = 0
    left_pad: str = ""
    right_pad: str = ""
    desc: str = ""


class _DialectFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    base: Literal["ascii", "ascii-hex", "bcd"]
    header_bytes: int = Field(0, ge=0, le=255)
    fields: dict[str, _Element] = {}


@dataclass(frozen=True)
class Dialect:
    """How a network writes messages: a specification of pyiso8583, and bytes before the MTI."""

    spec: _Spec
    header_bytes: int = 0


def load_dialect(name: str) -> Dialect:
    """The dialect of one of :data:`DIALECTS` or of a TOML file: ``base`` is one of these,
    ``header_bytes`` what comes before the MTI, ``[fields.N]`` the keys of pyiso8583 in which data
    element N differs (also ``h``, ``t``, ``p``). Raises ConfigError, ToolError without pyiso8583.
    """
    optional_packages.require(["iso8583"], "to read ISO 8583 messages")
    if name in DIALECTS:
        return Dialect(_built_in(name))
    if not Path(name).exists():
        raise ConfigError(
            f"--dialect {name}: neither {', '.join(DIALECTS)} nor a file; docs/emv.md says what "
            "such a file holds"
        )
    try:
        found = _DialectFile.model_validate(read_toml(name))
    except ValidationError as error:
        raise ConfigError(f"{name}: {first_fault(error)}") from error
    spec = _built_in(found.base)
    for number, element in found.fields.items():
        if number not in spec:
            raise ConfigError(f"{name}: fields.{number}: no data element; 2..128, or h, t, p")
        spec[number] |= element.model_dump(exclude_unset=True)
    return Dialect(spec, found.header_bytes)


def _built_in(name: str) -> _Spec:
    from iso8583 import specs

    found = specs.default_ascii if name == "ascii-hex" else specs.default
    spec: _Spec = {key: dict(value) for key, value in found.items()}
    spec["55"]["max_len"] = 999
    if name == "bcd":
        spec["t"]["data_enc"] = "b"
        for number in _NUMERIC:
            spec[str(number)] |= {"data_enc": "b", "len_count": "nibbles", "left_pad": "0"}
        for number in range(2, 129):
            one = spec[str(number)]
            one |= {"len_enc": "bcd", "len_type": (one["len_type"] + 1) // 2}
    return spec


def elements_of(data: bytes, dialect: Dialect) -> tuple[str, Elements]:
    """MTI and what is in a message; DE55 gives what the data elements do not. Raises Unreadable."""
    import iso8583

    header = dialect.header_bytes
    try:
        decoded, _ = iso8583.decode(data[header:], dialect.spec)
    except iso8583.DecodeError as error:
        where = {"h": "header", "t": "MTI", "p": "bitmap", "1": "bitmap"}
        what = where.get(error.field, f"DE{error.field}")
        rule = f"{what}, byte {header + error.pos}: {error.msg}"
        raise Unreadable(rule) from None
    mti = decoded["t"]
    if not (mti.isascii() and mti.isdigit()):
        raise Unreadable("the MTI is no number of four digits")
    if mti[0] != "0":
        raise Unreadable(f"MTI {mti} is not of ISO 8583:1987 (0xxx), whose data elements are read")
    found: Elements = {}
    for number, name in _NAMES.items():
        text = decoded.get(str(number), "")
        if text:
            found[name] = Value(text, f"DE{number}")
    icc = decoded.get("55", "")
    if icc and mti[2] in "02":
        try:
            add_tags(found, bytes.fromhex(icc))
        except Unreadable as error:
            raise Unreadable(f"DE55, {error}") from None
        except ValueError:
            raise Unreadable("DE55 is no hexadecimal text") from None
    return mti, found
