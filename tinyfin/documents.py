# SPDX-License-Identifier: Apache-2.0
"""JSON documents that tinyfin writes: typed, plain, with a number of their format."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Self, cast

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tinyfin.errors import InputError
from tinyfin.text import json_safe, printable

__all__ = ["Count", "Document", "Facts", "Partial", "Quantity", "Reported", "first_fault", "plain"]


def plain(value: object) -> object:
    """The value as JSON knows it: plain numbers, no NaN, text without control characters."""
    if isinstance(value, Mapping):
        return {printable(str(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    return printable(value) if type(value) is str else value


class Facts(BaseModel):
    """A part of a document. What is given is made plain first; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: object) -> object:
        return plain(given)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return self.model_dump(mode="json", by_alias=True)


class Reported(Facts):
    """Facts of which only those that were given are written."""

    @model_serializer(mode="wrap")
    def _given(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields = type(self).model_fields
        unset = {field.alias or name for name, field in fields.items()} - {
            fields[name].alias or name for name in self.model_fields_set if name in fields
        }
        return {key: value for key, value in write(self).items() if key not in unset}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The fields', not that of any dict."""
        fields = {key: value for key, value in schema.items() if key != "serialization"}
        return handler(cast(CoreSchema, fields))


class Partial(Reported):
    """What another command wrote: keys that are not named here are kept as they are."""

    model_config = ConfigDict(extra="allow")


class Document(Facts):
    """A whole file. ``FORMAT`` is its newest version; ``format`` says which one a file has."""

    FORMAT: ClassVar[int] = 1
    NAME: ClassVar[str]
    """Of its schema."""
    format: int = 1

    def text(self) -> str:
        """The file's text."""
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        return json_safe(text) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """The document in a file; InputError for a newer version, and for what is none."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: is not JSON ({error}); write it again") from error
        version = found.get("format") if isinstance(found, dict) else None
        if type(version) is not int:
            raise InputError(f"{path}: has no format number; give a file that tinyfin wrote")
        if version > cls.FORMAT:
            raise InputError(
                f"{path}: has format {version}, and this tinyfin reads up to {cls.FORMAT}; read it "
                "with the tinyfin that wrote it, or a newer one"
            )
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise InputError(f"{path}: {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """Where a document does not fit its model, and why."""
    fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"])) or "the document"
    if fault["type"] == "extra_forbidden":
        fault["msg"] = "unknown key"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    said = fault["msg"].removeprefix("Value error, ")
    return f"{key}: {said[:1].lower()}{said[1:]}{more}"


def _count(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _quantity(value: object) -> object:
    return _count(value) if not isinstance(value, float) else value


Count = Annotated[int | None, BeforeValidator(_count)]
"""A whole number. Anything else, a truth value too, counts as not reported: it proves nothing."""
Quantity = Annotated[float | None, BeforeValidator(_quantity)]
"""A number. Anything else counts as not reported."""
