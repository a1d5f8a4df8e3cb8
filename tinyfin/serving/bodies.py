# SPDX-License-Identifier: Apache-2.0
"""What a service is sent: JSON, checked by pydantic, with errors that a person can act on."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import WithJsonSchema
from pydantic_core import ErrorDetails

from tinyfin import schema as schemas
from tinyfin.config import Column
from tinyfin.data.cards import hide_pans
from tinyfin.data.parse import MAX_AMOUNT_MINOR
from tinyfin.data.times import parse_times
from tinyfin.data.tokens import id_of
from tinyfin.data.transactions import ACTIONS, EPOCH_UNIX_S, RESULTS
from tinyfin.schema import Schema

__all__ = [
    "CardEvent",
    "CardTime",
    "Notice",
    "Outcome",
    "RefusedError",
    "parsed_items",
    "place",
    "seconds",
    "transaction_model",
]

ActionName = Literal[ACTIONS]  # type: ignore[valid-type]  # mypy reads no values of a tuple
ResultName = Literal[RESULTS]  # type: ignore[valid-type]  # as above

_EXACT = 2**53
_SECONDS = range(EPOCH_UNIX_S, 2**32)
"""Times as whole numbers that can mean nothing but seconds since 1970."""
_SHOWN = 80
_LISTED = 5
_NO_TIME = (
    'must be a time like "2024-08-01T12:30:00Z" (ISO 8601), or seconds since 1970, between '
    "2000-01-01 and 2136-02-07; send it so"
)
_HALF = "holds half of a surrogate pair, which is no character; correct it at its source"


class RefusedError(Exception):
    """A request that is answered with an error: HTTP status, and what is wrong where."""

    def __init__(self, status: int, *faults: Mapping[str, object], count: int = 1) -> None:
        super().__init__(str(faults))
        self.status = status
        self.content = {"errors": [dict(fault) for fault in faults], "count": count}

    @classmethod
    def of(cls, status: int, field: str, value: object, message: str) -> RefusedError:
        """With one fault."""
        return cls(status, fault(field, value, message))


def fault(field: str, value: object, message: str) -> dict[str, object]:
    """What is wrong with a field; no card number is shown, and nothing that JSON or UTF-8 lacks."""
    shown: object = value
    if isinstance(value, float) and not math.isfinite(value):
        shown = str(value)
    elif not isinstance(value, (bool, float, type(None))):
        text = value if isinstance(value, str) else _as_json(value)
        hidden = _shown(text)
        shown = value if isinstance(value, int) and hidden == text else hidden
    return {"field": _shown(field), "value": shown, "message": message}


def _shown(text: str) -> str:
    plain = text[: 4 * _SHOWN].encode(errors="backslashreplace").decode()
    return hide_pans(plain)[:_SHOWN]


def _as_json(value: object) -> str:
    try:
        return json.dumps(value, default=str)
    except RecursionError:
        return "(nested too deeply)"


def _require_characters(text: str) -> None:
    """ValueError for half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(_HALF)


def _whole(value: object) -> object:
    """Numbers as programs write them that know floating point only, and texts of digits."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError("must be a whole number")
        if abs(value) >= _EXACT:
            raise ValueError("a floating-point number has lost digits here; send it as a text")
        return int(value)
    if isinstance(value, str) and value.isascii() and value.lstrip("-").isdigit():
        return int(value)
    return value


def _text(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else value


def _id(value: object) -> object:
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("must not be empty")
        _require_characters(value)
        return id_of(value.strip())
    return _whole(value)


def _time(value: object) -> object:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        if isinstance(value, str):
            _require_characters(value)
        return value
    raise ValueError(_NO_TIME)


_U64 = 2**64 - 1


def _either(*kinds: dict[str, object]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": list(kinds)})


_WHOLE: dict[str, object] = {"type": "integer", "minimum": 0, "maximum": _U64}
_digits = _either(_WHOLE, {"type": "string", "pattern": "^[0-9]{1,20}$"})
U64 = Annotated[int, Field(ge=0, le=_U64), BeforeValidator(_whole), _digits]
Token = Annotated[int, Field(ge=1, le=_U64), BeforeValidator(_whole), _digits]
Id = Annotated[int, Field(ge=0, le=_U64), BeforeValidator(_id), _either(_WHOLE, {"type": "string"})]
Name = Annotated[
    str,
    Field(min_length=1, max_length=64),
    BeforeValidator(_text),
    _either({"type": "string", "minLength": 1, "maxLength": 64}, {"type": "integer"}),
]
Time = Annotated[
    int | float | str, BeforeValidator(_time), _either({"type": "number"}, {"type": "string"})
]
Response = Annotated[int, Field(ge=-1, le=99), BeforeValidator(_whole)]
_TIME = Field(description="ISO 8601 (UTC where it names no zone), or seconds since 1970")
_ID = Field(description="unique per terminal; a text that is no whole number becomes its hash")


class Body(BaseModel):
    """One item of a request; a key that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


T = TypeVar("T", bound=Body)


class Outcome(Body):
    """What became of a transaction that was scored."""

    terminal: Name
    id: Id = _ID
    time: Time = _TIME
    result: ResultName
    response: Response = Field(-1, description="response code (DE39); -1 is none")
    action: ActionName = Field(
        ACTIONS[0], description="what the terminal did, whatever was advised"
    )


class Notice(Body):
    """What became known of a transaction later: fraud, or genuine."""

    terminal: Name
    id: Id = _ID
    time: Time = Field(description="when it became known")
    transaction_time: Time = Field(description="when the transaction was")
    token: Token | None = Field(None, description="of its card; without it the card keeps no label")
    fraud: bool


class CardTime(Body):
    """A card, and a moment."""

    token: Token
    time: Time = _TIME


class CardEvent(Body):
    """A request, an outcome or a notice of a card."""

    kind: Literal["request", "outcome", "notice"]
    token: Token
    id: Id = Field(description="of the transaction, unique per card")
    time: Time = _TIME
    amount_minor: Annotated[int, Field(ge=0, le=MAX_AMOUNT_MINOR), BeforeValidator(_whole)] = Field(
        0, description="of a request"
    )
    result: ResultName = Field(RESULTS[0], description="of an outcome")
    response: Response = Field(-1, description="of an outcome: DE39")
    transaction_time: Time | None = Field(None, description="of a notice, needed there")
    fraud: bool | None = Field(None, description="of a notice, needed there")


def transaction_model(schema: Schema) -> type[Body]:
    """One transaction with the fields of a schema by their names; null is as absent."""
    fields: dict[str, Any] = {
        "terminal": (Name, ...),
        "id": (Id, _ID),
        "time": (Time, _TIME),
        "local_time": (
            Time | None,
            Field(None, description="wall clock at the terminal; as time if not given"),
        ),
    }
    for spec in schema.fields:
        fields[spec.name] = (_kind(spec) | None, Field(None, description=spec.doc or spec.unit))
    made: type[Body] = create_model(
        "Transaction", __base__=Body, __doc__="A transaction to score.", **fields
    )
    return made


def _kind(spec: schemas.Field) -> Any:
    if spec.type == "enum":
        return Literal[spec.values]
    if spec.type == "u64":
        return U64
    low, high = (0, MAX_AMOUNT_MINOR) if spec.unit == "minor" else spec.bounds
    return Annotated[int, Field(ge=low, le=high), BeforeValidator(_whole)]


def parsed_items(body: bytes, model: type[T], many: str, most: int) -> tuple[list[T], bool]:
    """Items of a request, and whether it was a list of them: ``{"<many>": [...]}`` or one alone.

    Raises RefusedError.
    """
    try:
        given = json.loads(body, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError.of(
            400, "body", None, f"is not JSON ({error}); send it as application/json"
        ) from error
    if not isinstance(given, dict):
        raise RefusedError.of(
            400, "body", given, f'must be an object: one item, or {{"{many}": [...]}}'
        )
    alone = many not in given
    items: list[object] = [given] if alone else given[many]
    if not alone:
        if len(given) != 1 or not isinstance(items, list):
            raise RefusedError.of(
                400, many, items, f'must be a list, and the only key: {{"{many}": [...]}}'
            )
        if not 1 <= len(items) <= most:
            raise RefusedError.of(
                413, many, len(items), f"must have 1 to {most} items; send several requests"
            )
    faults: list[dict[str, object]] = []
    made, count = [], 0
    for i, item in enumerate(items):
        try:
            made.append(model.model_validate(item))
        except ValidationError as error:
            where = "" if alone else f"{many}[{i}]"
            found = error.errors(include_url=False)
            count += len(found)
            if len(faults) < _LISTED:
                faults += [_fault_of(one, where, tuple(model.model_fields)) for one in found]
    if faults:
        raise RefusedError(422, *faults[:_LISTED], count=count)
    return made, not alone


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _constant(word: str) -> None:
    raise ValueError(f"{word} is no number; leave the key out or write null")


def _fault_of(error: ErrorDetails, where: str, names: Sequence[str]) -> dict[str, object]:
    """A fault of pydantic's in our words."""
    path = [str(part) for part in error["loc"] if part in names or not where]
    name = path[0] if path else str(error["loc"][0]) if error["loc"] else ""
    field = ".".join(filter(None, (where, name))) or "body"
    value, limits = error["input"], error.get("ctx", {})
    bound = limits.get("ge", limits.get("le"))
    messages = {
        "missing": "is needed; add it",
        "literal_error": f"must be one of {limits.get('expected')}; write one of them",
        "greater_than_equal": f"must be at least {bound}; correct it at its source",
        "less_than_equal": f"must be at most {bound}; correct it at its source",
        "string_too_short": "must not be empty; name the terminal",
        "string_too_long": f"must have at most {limits.get('max_length')} characters; shorten it",
        "value_error": str(limits.get("error")),
        "string_unicode": _HALF,
        "model_type": "must be an object with the keys of /openapi.json",
        "bool_parsing": "must be true or false",
        "bool_type": "must be true or false",
        "int_parsing": "must be a whole number; send digits only",
        "int_type": "must be a whole number; send digits only",
    }
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
        return fault(field, value, f"is not known; {hint}")
    if error["type"] == "missing":
        value = None
    text = messages.get(error["type"], f"{error['msg']}; see /openapi.json")
    return fault(field, value, text)


def seconds(times: Sequence[int | float | str], many: str, name: str) -> npt.NDArray[np.int64]:
    """Seconds since 2000-01-01, in UTC and on the wall, int64[2, n], of field ``name`` of the items
    of a request. Raises RefusedError."""
    if all(type(time) is int and time in _SECONDS for time in times):
        plain = np.array(times, np.int64) - EPOCH_UNIX_S
        return np.stack([plain, plain])
    column = pa.array([time.strip() if isinstance(time, str) else repr(time) for time in times])
    found = parse_times(column, Column(column="time"))
    for mask in (~found.present, *(mask for mask, _ in found.broken)):
        if mask.any():
            i = int(np.flatnonzero(mask)[0])
            raise RefusedError.of(422, place(many, len(times), i, name), times[i], _NO_TIME)
    return np.stack([found.mono_s, found.local_s])


def place(many: str, count: int, i: int, name: str) -> str:
    """How messages call a field of item ``i`` of ``count``."""
    return f"{many}[{i}].{name}" if count > 1 else name
