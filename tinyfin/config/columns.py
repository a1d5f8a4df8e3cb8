# SPDX-License-Identifier: Apache-2.0
"""[data]: which column of a transactions file is what."""

from __future__ import annotations

import codecs
import difflib
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tinyfin.config.durations import parse_duration, parse_moment
from tinyfin.config.patterns import parse_pattern
from tinyfin.schema import Field as SchemaField
from tinyfin.schema import Schema

__all__ = [
    "ALIASES",
    "EMPTY",
    "SPECIAL_NAMES",
    "Column",
    "Data",
    "Delimiter",
    "Duration",
    "Encoding",
    "Moment",
    "gathered",
    "misfit",
]

Duration = Annotated[int, BeforeValidator(parse_duration)]
Moment = Annotated[int, BeforeValidator(parse_moment)]
Delimiter = Annotated[str, BeforeValidator(lambda v: _delimiter(v))]
Encoding = Annotated[str, BeforeValidator(lambda v: _encoding(v))]

SPECIAL_NAMES: Mapping[str, str] = {
    "time": "when the transaction was scored (required)",
    "local_time": "wall clock of the terminal, if it differs from time",
    "terminal": "id of the terminal; without it all rows are one terminal's",
    "id": "id of the transaction, unique per terminal; without it the row number",
    "result": "approved, declined, cancelled, timed_out or reversed",
    "response": "response code (DE39), 0..99",
    "action": "what the terminal did: accept, go_online, verify or decline; without it accept",
    "outcome_time": "when the outcome became known; without it the transaction's time",
    "label": "1 fraud, 0 genuine, empty unknown",
    "label_time": "when the label became known; without it time + label_delay",
    "scenario": "name of a scenario, for reports only",
}
"""Names in [data] that are not fields of the schema."""

ALIASES: Mapping[str, str] = {"amount": "amount_minor"}
"""Short names in [data] for fields of the payment schema."""

TIMES = ("time", "local_time", "outcome_time", "label_time")

EMPTY = (
    "",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "<NA>",
    "NaN",
    "nan",
    "NaT",
    "null",
    "NULL",
    "<null>",
    "(null)",
    "None",
    "\\N",
    ".",
)
"""Spellings of "no value" by pandas, R, Excel, SAS, PostgreSQL, MySQL, Hive and Oracle's tools."""


class Column(BaseModel):
    """Where one value comes from: a column of the file, a constant, or columns of which one is 1.

    ``unit``: ``minor`` or ``major`` for amounts (``exponent`` decimals, 2 for most currencies), and
    ``token`` for a card column that already holds 64-bit tokens. ``values`` translates the file's
    spellings (``"*"`` means every other one, ``""`` for no value); ``empty`` lists spellings
    of no value, such as a day that never comes. ``format`` reads times; numbers count from
    ``epoch`` (1970-01-01 if not given), and ``utc_offset`` is added to make local time.
    ``zone`` is that of times without one of their own, as in "Europe/Zurich".
    ``scale`` multiplies numbers before they are rounded to whole ones. ``one_hot`` names columns of
    0 and 1: the value is the position of the one that is 1, from 0; absent when none is.
    ``columns`` joins the texts of several columns by blanks: a time in parts, a card named by two.
    ``pattern`` reads a time by strptime's directives. ``strip`` takes characters off a number and
    ``decimal`` is its decimal mark; ``negative`` says what an amount below zero is. ``hash`` makes
    a 16-bit number of any text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str | None = None
    constant: int | float | str | None = None
    one_hot: Annotated[list[str], Field(min_length=2, max_length=1024)] | None = None
    columns: Annotated[list[str], Field(min_length=2, max_length=16)] | None = None
    scale: Annotated[float, Field(gt=0, lt=1e18)] | None = None
    unit: Literal["minor", "major", "token"] | None = None
    exponent: Annotated[int, BeforeValidator(lambda v: _exponent(v))] | None = None
    values: dict[str, str | int] | None = None
    empty: Annotated[list[str], Field(min_length=1, max_length=64)] | None = None
    strip: Annotated[str, Field(min_length=1, max_length=16)] | None = None
    decimal: Annotated[str, BeforeValidator(lambda v: _mark(v))] | None = None
    negative: Literal["refund", "absolute"] | None = None
    hash: bool = False
    format: (
        Literal[
            "auto",
            "iso",
            "seconds",
            "milliseconds",
            "microseconds",
            "nanoseconds",
            "minutes",
            "hours",
            "days",
        ]
        | None
    ) = None
    pattern: Annotated[str, BeforeValidator(parse_pattern)] | None = None
    epoch: Moment | None = None
    utc_offset: Duration | None = None
    zone: Annotated[str, BeforeValidator(lambda v: _zone(v))] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> Column:
        sources = (self.column, self.constant, self.one_hot, self.columns)
        if self.empty is not None and self.column is None:
            raise ValueError('empty goes with column = "NAME"; remove it')
        if sum(x is not None for x in sources) != 1:
            raise ValueError(
                'give one of column = "NAME", constant = VALUE, one_hot = ["A", "B"], '
                'columns = ["A", "B"]'
            )
        if self.decimal is not None and self.decimal in (self.strip or ""):
            raise ValueError(f"strip takes off {self.decimal!r}, which is the decimal mark")
        nothing = [word for word in self.values or () if word and word.strip() in EMPTY]
        if nothing:
            raise ValueError(
                f"{nothing[0]!r} in values means that there is no value, and never arrives; "
                'the key for every kind of no value is ""'
            )
        if self.one_hot is not None and len(set(self.one_hot)) < len(self.one_hot):
            raise ValueError("one_hot names a column twice")
        return self


def _mark(value: object) -> str:
    if not isinstance(value, str) or len(value) != 1 or value.isalnum() or value in " +-()":
        raise ValueError('a decimal mark is one character, as in "," or "."')
    return value


def _exponent(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 6:
        raise ValueError("the currency exponent (ISO 4217) is a whole number, 0 to 6")
    return value


def _delimiter(value: object) -> str:
    if not isinstance(value, str) or len(value) != 1 or not value.isascii() or value in '"\r\n':
        raise ValueError('a delimiter is one ASCII character, as in ";" or "\\t"')
    return value


def _zone(value: object) -> str:
    try:
        if not isinstance(value, str) or not value:
            raise ValueError
        return zoneinfo.ZoneInfo(value).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError('no such zone; zones are called as in "Europe/Zurich"') from None


def _encoding(value: object) -> str:
    try:
        if not isinstance(value, str):
            raise LookupError
        "".encode(value)
        return codecs.lookup(value).name
    except LookupError:
        raise ValueError('no such encoding; usual ones are "cp1252", "latin-1", "utf-16"') from None


class Data(BaseModel):
    """The [data] section: ``label_delay``, ``notices``, ``plain``, and one entry per mapped name.

    ``plain``: a table without any history. Rows have no time and no terminal; row i is at
    second i, and its label is known at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, Column] = {}
    delimiter: Delimiter | None = None
    """What separates the columns of a CSV file; found by itself if it is a comma, semicolon, tab or
    bar."""
    encoding: Encoding | None = None
    """Of CSV files that are neither UTF-8 nor marked as UTF-16, by a name that Python knows."""
    token_key_file: str | None = None
    """File with the secret key of the tokens that are made of a card column's ids."""
    label_delay: Duration = 7 * 86400
    notices: Literal["both", "fraud_only", "none"] = "both"
    plain: bool = False

    @property
    def label_delay_s(self) -> int:
        """``label_delay`` in seconds."""
        return 0 if self.plain else self.label_delay

    @model_validator(mode="after")
    def _no_negative_delay(self) -> Data:
        if self.label_delay < 0:
            raise ValueError("label_delay cannot be negative: a label cannot precede its cause")
        timed = [name for name in (*TIMES, "terminal") if name in self.columns]
        if self.plain and timed:
            raise ValueError(
                f"plain = true is a table without time and terminal, but {timed[0]} "
                "is mapped; remove one of them"
            )
        return self

    def resolved(self, schema: Schema) -> dict[str, Column]:
        """Columns by field or special name; the native names if [data] maps none."""
        if self.columns:
            return dict(self.columns)
        return native_columns(schema)


def native_columns(schema: Schema) -> dict[str, Column]:
    """The mapping of a file whose columns carry the schema's own names."""
    columns = {name: Column(column=name) for name in (*SPECIAL_NAMES, *schema.names)}
    for field in schema.fields:
        if field.type == "u64" and field.unit == "token":
            columns[field.name] = Column(column=field.name, unit="token")
    return columns


def split_columns(table: Mapping[str, object], schema: Schema) -> dict[str, object]:
    """[data] as written, with its column entries gathered under ``columns`` by field name.

    Raises ValueError ("key", "message" as its arguments) for a name that is neither.
    """
    return gathered("data", table, Data, (*SPECIAL_NAMES, *schema.names))


def gathered(
    section: str, table: Mapping[str, object], model: type[BaseModel], fields: Sequence[str]
) -> dict[str, object]:
    """A table as ``model`` takes it, with the entries for ``fields`` under ``columns``.

    Raises ValueError (key, with the name of the section, and message) for another name.
    """
    options = [name for name in model.model_fields if name != "columns"]
    aliases = {short: full for short, full in ALIASES.items() if full in fields}
    names = (*options, *fields, *aliases)
    out: dict[str, object] = {}
    columns: dict[str, object] = {}
    for key, value in table.items():
        if key in options:
            out[key] = value
            continue
        where = f"{section}.{key}"
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
            raise ValueError(where, f"unknown key {key!r}; {hint}")
        full = aliases.get(key, key)
        if full in columns:
            raise ValueError(where, f"{key!r} and {full!r} are the same field; keep one")
        columns[full] = value
    return {**out, "columns": columns}


def check_columns(data: Data, schema: Schema) -> None:
    """Options that do not fit their field raise ValueError with key and rule."""
    fields = {field.name: field for field in schema.fields}
    if "label_time" in data.columns and "label" not in data.columns:
        how = data.columns["label_time"]
        raise ValueError(
            "data.label_time",
            "it says when a label became known, and no label is mapped; where a date alone marks "
            f'a fraud: label = {{column = "{how.column or "NAME"}", values = {{"" = 0, "*" = 1}}}}',
        )
    for name, column in data.columns.items():
        problem = misfit(name, column, fields.get(name))
        if column.negative == "refund" and "transaction_type" not in fields:
            problem = 'negative = "refund" needs the field transaction_type; take "absolute"'
        if problem is not None:
            raise ValueError(f"data.{name}", problem)


def misfit(name: str, column: Column, field: SchemaField | None) -> str | None:
    """What is wrong with the options of an entry for ``name``; None if nothing is."""
    is_amount = field is not None and field.unit == "minor"
    is_token = field is not None and field.unit == "token"
    if column.unit in ("minor", "major") and not is_amount:
        return f"unit = {column.unit!r} fits amounts only; remove it"
    if column.unit == "token" and not is_token:
        return "unit = 'token' fits the card token only; remove it"
    if column.exponent is not None and column.unit != "major":
        return 'exponent goes with unit = "major"; add that or remove it'
    if name not in TIMES and (
        column.format or column.epoch is not None or column.utc_offset or column.zone
    ):
        return "format, epoch, utc_offset and zone fit times only; remove them"
    if column.zone is not None and column.utc_offset is not None:
        return "zone and utc_offset say the same; remove one of them"
    if column.epoch is not None and (column.format in ("auto", "iso") or column.pattern):
        return 'epoch goes with numbers: format = "seconds", "milliseconds", "minutes", "hours"'
    if column.pattern is not None and (column.format is not None or name not in TIMES):
        return "pattern reads times written as text, without format; remove one of them"
    whole = field is not None and field.type in ("i32", "i64") and not is_amount
    if column.scale is not None and (not whole or column.values is not None):
        return "scale makes whole numbers of an i32 or i64 field, without values; remove it"
    if column.one_hot is not None and (not whole or column.values or column.scale):
        return "one_hot fills an i32 or i64 field, without values or scale; remove it"
    joins = name in (*TIMES, "id", "terminal") or is_token
    if column.columns is not None and not joins:
        return "columns are joined for times, ids, terminals and cards only; remove it"
    number = is_amount or whole or name in (*TIMES, "label", "response")
    if (column.strip or column.decimal) and (not number or column.pattern or column.hash):
        return "strip and decimal fit amounts and other numbers only; remove them"
    if column.negative is not None and not is_amount:
        return "negative fits amounts only; remove it"
    if column.hash and (not whole or column.values or column.scale):
        return "hash makes a number for an i32 or i64 field, without values or scale; remove it"
    if column.values is not None and (name in (*TIMES, "id", "terminal") or is_amount or is_token):
        return "values translates codes, not ids, times or amounts; remove it"
    return None
