# SPDX-License-Identifier: Apache-2.0
"""[labels]: files of chargebacks and clearances, and how their rows find their transactions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tinyfin.config.columns import Column, Data, Delimiter, Duration, Encoding, gathered, misfit
from tinyfin.config.durations import parse_duration
from tinyfin.schema import Schema

__all__ = ["DAY", "LabelFile", "Labels", "check_labels", "split_labels"]

DAY = -1
"""``tolerance``: the transaction is of the same local day."""

_SPECIAL = ("id", "terminal", "time", "label", "label_time")
_FIELDS = ("token", "amount_minor", "currency")


def _tolerance(value: object) -> int:
    if value == "day":
        return DAY
    seconds = parse_duration(value)
    if seconds < 0:
        raise ValueError('a tolerance is "day", or a duration such as "2m"')
    return seconds


class LabelFile(BaseModel):
    """One table of [labels]: a file whose rows say of one transaction each what it was.

    ``columns`` has entries as those of [data], by name. ``delay``: what a row says is known so much
    later than its ``label_time``, as in "1d" where that is a date.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(min_length=1)]
    columns: dict[str, Column] = {}
    tolerance: Annotated[int, BeforeValidator(_tolerance)] | None = None
    """Seconds by which the times of row and transaction may differ, or :data:`DAY`."""
    delay: Annotated[Duration, Field(ge=0)] = 0
    delimiter: Delimiter | None = None
    encoding: Encoding | None = None

    @property
    def joins(self) -> tuple[str, ...]:
        """Names by which a row finds its transaction."""
        return tuple(x for x in ("id", "terminal", "token", "amount_minor") if x in self.columns)

    @property
    def reading(self) -> Data:
        """How the file is read."""
        return Data(delimiter=self.delimiter, encoding=self.encoding)


class Labels(BaseModel):
    """The [labels] section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: dict[str, LabelFile] = {}
    unlisted: Literal["genuine", "unknown"] = "unknown"
    """What a transaction is that no row is about: genuine, known after ``label_delay``."""
    not_taken: Annotated[str, Field(min_length=1)] = "labels_not_taken.csv"
    """CSV file that gets the rows that found no transaction, or several, or contradict others."""


def split_labels(table: Mapping[str, object], schema: Schema) -> dict[str, object]:
    """[labels] as written, its tables gathered under ``files``, their column entries under
    ``columns`` by field name. Raises ValueError (key and message) for a name that is neither."""
    own = [name for name in Labels.model_fields if name != "files"]
    out: dict[str, object] = {key: value for key, value in table.items() if key in own}
    fields = (*_SPECIAL, *(field for field in _FIELDS if field in schema.names))
    files: dict[str, object] = {}
    for name, part in table.items():
        if name in own:
            continue
        if not isinstance(part, Mapping):
            near = difflib.get_close_matches(name, own, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"labels.{name}", f"{hint}a file of labels is a table, [labels.{name}]"
            )
        files[name] = gathered(f"labels.{name}", part, LabelFile, fields)
    return {**out, "files": files}


def check_labels(labels: Labels, data: Data, schema: Schema) -> None:
    """What does not fit together raises ValueError with key and rule."""
    if labels.files and data.plain:
        raise ValueError(
            "labels", "a table without time (data.plain) has its labels in a column: data.label"
        )
    if labels.unlisted == "genuine" and not labels.files:
        raise ValueError("labels.unlisted", "goes with files of labels: [labels.NAME]")
    fields = {field.name: field for field in schema.fields}
    for name, spec in labels.files.items():
        where = f"labels.{name}"
        for key, column in spec.columns.items():
            problem = misfit(key, column, fields.get(key))
            if column.negative == "refund":
                problem = 'the sign of an amount is not joined by; take negative = "absolute"'
            if column.constant is not None and key != "label":
                problem = "a constant finds no transaction; name a column"
            if problem is not None:
                raise ValueError(f"{where}.{key}", problem)
        problem = _unjoinable(spec)
        if problem is not None:
            raise ValueError(where, problem)


def _unjoinable(spec: LabelFile) -> str | None:
    if "label" not in spec.columns:
        return "what do its rows say? label = {constant = 1} for frauds, or a column with values"
    timed = "time" in spec.columns
    if timed != (spec.tolerance is not None):
        return 'time and tolerance go together: tolerance = "day" for dates, or as in "2m"'
    if "id" in spec.columns or (timed and {"terminal", "token"} & {*spec.columns}):
        return None
    return (
        "its rows find their transaction by id, or by time and terminal or token (and amount); "
        "name those columns"
    )
