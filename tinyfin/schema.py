# SPDX-License-Identifier: Apache-2.0
"""The typed fields of an event, and where each is in the C record.

A schema is declared once; the C struct, the wire format and the twin are made from it. It is
append-only: a new field goes to the end, so the offsets of the old ones never move and an old pack
reads new events.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tinyfin.errors import ConfigError

__all__ = [
    "HOST_FIELDS",
    "HOST_ODDS_FIELDS",
    "MAX_FIELDS",
    "PAYMENT",
    "PAYMENT_HOST",
    "PAYMENT_HOST_ODDS",
    "TYPES",
    "Field",
    "Schema",
    "built_in",
    "record_offsets",
    "record_size",
    "schema_from_toml",
]

MAX_FIELDS = 32
"""One bit of the record's ``present`` word per field."""

TYPES: Mapping[str, int] = {"i32": 4, "i64": 8, "u64": 8, "enum": 4}
"""Field types and their size in the C record, in bytes; the alignment equals the size."""

_HEADER_BYTES = 8  # uint32_t present, then 4 bytes of padding
_RECORD_ALIGN = 8
_RANGE = {"i32": (-(2**31), 2**31 - 1), "i64": (-(2**63), 2**63 - 1), "u64": (0, 2**64 - 1)}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")
# Words the generated C struct, the readers' special columns and the wire keep for themselves.
_RESERVED_WORDS = """
present reserved time local_time terminal id result response action outcome_time label label_time
scenario notices label_delay auto break case char const continue default do double else enum extern
float for goto if inline int long register restrict return short signed sizeof static struct switch
typedef union unsigned void volatile while class new delete this template namespace public private
protected true false bool
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


@dataclass(frozen=True)
class Field:
    """One field of an event.

    ``missing`` is the value the engine sees when the field is absent. An enum's value is the index
    of its name in ``values`` (-1 is allowed as ``missing``). ``ram_only`` fields are never logged,
    stored or exported. ``unit`` is free text, except ``minor``, which lets the readers accept
    major units for the field. ``host``: only an authorisation host knows it, so an event may
    come without it; a model that reads such a field flags NO_HOST when none of them came.
    """

    name: str
    type: str
    missing: int = 0
    values: tuple[str, ...] = ()
    unit: str = ""
    doc: str = ""
    ram_only: bool = False
    host: bool = False

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value of a present field, inclusive."""
        return (0, len(self.values) - 1) if self.type == "enum" else _RANGE[self.type]


@dataclass(frozen=True)
class Schema:
    """A named, ordered set of at most 32 fields. Raises ConfigError if a rule is broken."""

    name: str
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        _check(self)

    @property
    def names(self) -> tuple[str, ...]:
        """Field names in declaration order."""
        return tuple(field.name for field in self.fields)

    def index(self, name: str) -> int:
        """Index of the field ``name``; ConfigError with the nearest name if there is none."""
        for i, field in enumerate(self.fields):
            if field.name == name:
                return i
        near = difflib.get_close_matches(name, self.names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(self.names)}"
        raise ConfigError(f"schema {self.name!r} has no field {name!r}{hint}")

    def field(self, name: str) -> Field:
        """The field called ``name``; ConfigError with the nearest name if there is none."""
        return self.fields[self.index(name)]

    def extended(self, fields: Sequence[Field], name: str | None = None) -> Schema:
        """This schema with ``fields`` appended; no offset of the old fields moves."""
        return Schema(name or self.name, (*self.fields, *fields))


def record_offsets(schema: Schema) -> tuple[int, ...]:
    """Byte offset of each field in the C record.

    The record begins with ``uint32_t present`` (bit i: field i is there) and four bytes of padding;
    the fields follow in declaration order with natural alignment. Because a field's offset depends
    only on the fields before it, appending moves nothing.
    """
    return _layout(schema)[0]


def record_size(schema: Schema) -> int:
    """Size of the C record in bytes, rounded up to 8."""
    return _layout(schema)[1]


def _layout(schema: Schema) -> tuple[tuple[int, ...], int]:
    offsets = []
    end = _HEADER_BYTES
    for field in schema.fields:
        size = TYPES[field.type]
        end = -(-end // size) * size
        offsets.append(end)
        end += size
    return tuple(offsets), -(-end // _RECORD_ALIGN) * _RECORD_ALIGN


def _check(schema: Schema) -> None:
    where = f"schema {schema.name!r}"
    if not _NAME.match(schema.name):
        raise ConfigError(f"{where}: name it with a-z, 0-9 and _, a letter first, at most 31 long")
    if not 1 <= len(schema.fields) <= MAX_FIELDS:
        raise ConfigError(
            f"{where}: {len(schema.fields)} fields; a schema has 1 to {MAX_FIELDS}; drop some"
        )
    seen: set[str] = set()
    for field in schema.fields:
        at = f"{where}, field {field.name!r}"
        if not _NAME.match(field.name) or field.name in _RESERVED:
            why = "is reserved" if field.name in _RESERVED else "is not a C name in lower case"
            raise ConfigError(f"{at}: the name {why}; use a-z, 0-9 and _, a letter first")
        if field.name in seen:
            raise ConfigError(f"{at}: the name is used twice; rename one")
        seen.add(field.name)
        _check_type(field, at)


def _check_type(field: Field, at: str) -> None:
    if field.type not in TYPES:
        raise ConfigError(f"{at}: type {field.type!r} is not one of {', '.join(TYPES)}")
    if (field.type == "enum") != bool(field.values):
        raise ConfigError(f"{at}: 'values' lists the names of an enum, and only of an enum")
    if len(set(field.values)) != len(field.values):
        raise ConfigError(f"{at}: 'values' names a value twice")
    for value in field.values:
        if not _NAME.match(value):
            raise ConfigError(f"{at}: value {value!r} is not a C name in lower case")
    low, high = field.bounds
    low = -1 if field.type == "enum" else low
    if not low <= field.missing <= high:
        raise ConfigError(f"{at}: missing = {field.missing} is outside {low}..{high}")


_FIELD_KEYS = ("name", "type", "missing", "values", "unit", "doc", "ram_only", "host")
_SCHEMA_KEYS = ("name", "extends", "fields")


def schema_from_toml(table: Mapping[str, Any], where: str = "schema") -> Schema:
    """Schema from a parsed table, for events that are not payments.

    ``name`` is required unless the table ``extends`` a schema, ``"payment"``, ``"payment_host"`` or
    ``"payment_host_odds"``, in which case ``fields`` (none are needed then) are appended to it.
    Each of ``fields`` has ``name`` and ``type``, and optionally ``missing`` (0; -1 for an enum),
    ``values``, ``unit``, ``doc``, ``ram_only``, ``host``.
    Raises ConfigError, naming the key.
    """
    _known_keys(table, _SCHEMA_KEYS, where)
    base = table.get("extends")
    bases = {schema.name: schema for schema in (PAYMENT, PAYMENT_HOST, PAYMENT_HOST_ODDS)}
    if base is not None and not (isinstance(base, str) and base in bases):
        raise ConfigError(
            f"{where}: extends = {base!r}; only {', '.join(map(repr, bases))} can be extended"
        )
    rows = table.get("fields", [] if base else None)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ConfigError(f"{where}: 'fields' must be a list of tables ([[schema.fields]])")
    fields = [_field(row, f"{where}: fields[{i}]") for i, row in enumerate(rows)]
    name = table.get("name", base)
    if not isinstance(name, str):
        raise ConfigError(f"{where}: 'name' must be a string")
    try:
        return bases[base].extended(fields, name) if base else Schema(name, tuple(fields))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _field(row: Mapping[str, Any], where: str) -> Field:
    _known_keys(row, _FIELD_KEYS, where)
    kinds: dict[str, type] = {
        "name": str,
        "type": str,
        "missing": int,
        "values": list,
        "unit": str,
        "doc": str,
        "ram_only": bool,
        "host": bool,
    }
    for key, kind in kinds.items():
        if key in row and (
            not isinstance(row[key], kind) or (kind is int and isinstance(row[key], bool))
        ):
            raise ConfigError(f"{where}: {key} = {row[key]!r} must be of type {kind.__name__}")
    for key in ("name", "type"):
        if key not in row:
            raise ConfigError(f"{where}: {key!r} is missing; a field needs a name and a type")
    values = tuple(row.get("values", ()))
    if not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{where}: values = {list(values)!r} must be a list of strings")
    default = -1 if row["type"] == "enum" else 0
    field = Field(row["name"], row["type"], row.get("missing", default))
    return replace(
        field,
        values=values,
        unit=row.get("unit", ""),
        doc=row.get("doc", ""),
        ram_only=row.get("ram_only", False),
        host=row.get("host", False),
    )


def _known_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {key!r}; {hint}")


ENTRY_MODES = (
    "contactless_chip",
    "chip",
    "contactless_stripe",
    "stripe",
    "fallback",
    "keyed",
    "credential_on_file",
)
TRANSACTION_TYPES = ("purchase", "cash", "cashback", "refund", "void", "preauth", "forced_post")
CVMS = ("online_pin", "offline_pin", "cdcvm", "signature", "none", "failed")

PAYMENT = Schema(
    "payment",
    (
        Field(
            "amount_minor",
            "i64",
            0,
            unit="minor",
            doc="amount in minor units, never negative (DE4, n12); the type says which way",
        ),
        Field(
            "token",
            "u64",
            0,
            unit="token",
            doc="64-bit keyed hash of the card made by the payment application; never a PAN; "
            "0 means no card",
        ),
        Field("entry_mode", "enum", -1, ENTRY_MODES, doc="how the card was read (DE22)"),
        Field(
            "transaction_type",
            "enum",
            0,
            TRANSACTION_TYPES,
            doc="what is asked for (DE3); absent reads as purchase",
        ),
        Field("mcc", "i32", 0, doc="merchant category code (DE18); 0 is no category"),
        Field("currency", "i32", 0, doc="ISO 4217 numeric code (DE49); 0 is unknown"),
        Field("cvm", "enum", -1, CVMS, doc="cardholder verification performed (tag 9F34)"),
        Field(
            "tvr",
            "i64",
            0,
            doc="terminal verification results (tag 95), 5 bytes, byte 1 the most significant",
        ),
        Field("atc", "i32", -1, doc="application transaction counter of the card (tag 9F36)"),
        Field("stan", "i32", -1, doc="system trace audit number (DE11), 0..999999"),
        Field(
            "floor_limit_minor",
            "i64",
            0,
            unit="minor",
            doc="limit under which the terminal may approve by itself; 0: always online",
        ),
        Field(
            "offline",
            "enum",
            0,
            ("no", "yes"),
            doc="whether the terminal is cut off from its host and stores and forwards",
        ),
        Field(
            "queued_minor",
            "i64",
            0,
            unit="minor",
            doc="total waiting in the store-and-forward queue before this transaction",
        ),
        Field("link_downs", "i32", 0, doc="times the link went down, counted since service"),
        Field("boots", "i32", 0, doc="times the terminal started, counted since service"),
        Field("tamper_flags", "i32", 0, doc="latched tamper, cover and mesh bits since service"),
        Field("chip_failures", "i32", 0, doc="failed chip reads right before this transaction"),
        Field(
            "bin_hash",
            "i32",
            -1,
            ram_only=True,
            doc="keyed 16-bit hash of the issuer's BIN; in RAM only, so that no file holds it "
            "next to the token (PCI DSS 3.5.1)",
        ),
        Field("approval_hash", "i32", -1, doc="hash of the approval code (DE38) of a forced post"),
        Field("operator_hash", "i32", -1, doc="hash of the operator who is logged in"),
        Field(
            "expiry_hash",
            "i32",
            -1,
            ram_only=True,
            doc="keyed 16-bit hash of the expiry date as it was given (DE14); in RAM only, "
            "as the BIN's",
        ),
    ),
)
"""What a payment terminal knows about a transaction, in the words of ISO 8583 and EMV."""

HOST_FIELDS = (
    Field(
        "host_card_count_1d",
        "i32",
        -1,
        host=True,
        doc="transactions of this card at all terminals in the last day",
    ),
    Field(
        "host_card_count_30d",
        "i32",
        -1,
        host=True,
        doc="transactions of this card at all terminals in the last 30 days",
    ),
    Field(
        "host_card_mean_minor",
        "i64",
        -1,
        unit="minor",
        host=True,
        doc="mean of this card's approved amounts in the last 128 days",
    ),
    Field(
        "host_card_known_frauds",
        "i32",
        -1,
        host=True,
        doc="frauds on this card in the last 180 days that are known by now",
    ),
    Field(
        "host_card_count_7d",
        "i32",
        -1,
        host=True,
        doc="transactions of this card at all terminals in the last 7 days",
    ),
    Field(
        "host_card_mean_7d_minor",
        "i64",
        -1,
        unit="minor",
        host=True,
        doc="mean of this card's approved amounts in the last 7 days",
    ),
)
"""What an authorisation host may send with an event; all of it is optional."""

PAYMENT_HOST = PAYMENT.extended(HOST_FIELDS, "payment_host")
"""The payment schema with the host's fields at the end: an old pack reads its records."""

HOST_ODDS_FIELDS = (
    Field(
        "host_card_compromised_odds",
        "i32",
        -32768,
        host=True,
        doc="256 * log2 odds that this card is compromised now, by its known labels",
    ),
    Field(
        "host_card_compromised_ever_odds",
        "i32",
        -32768,
        host=True,
        doc="256 * log2 odds that this card was compromised in the days that are read",
    ),
)
"""What a host that learned the odds of compromised cards may send, too."""

PAYMENT_HOST_ODDS = PAYMENT_HOST.extended(HOST_ODDS_FIELDS, "payment_host_odds")
"""``payment_host`` with the odds of compromised cards at the end."""


def built_in(name: str) -> dict[str, Field]:
    """Fields that tinyfin itself declares for the schema of this name, by name; {} for others."""
    if name not in (PAYMENT.name, PAYMENT_HOST.name, PAYMENT_HOST_ODDS.name):
        return {}
    return {field.name: field for field in PAYMENT_HOST_ODDS.fields}
