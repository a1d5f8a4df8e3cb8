# SPDX-License-Identifier: Apache-2.0
"""The base of all results: keys, numbers that may be missing, the version of a file's schema."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

from tinyfin.errors import ModelError

__all__ = ["NAN", "Facts", "Figure", "IncompleteError", "Interval", "ResultFile"]

NAN = float("nan")

Figure = Annotated[
    float,
    BeforeValidator(lambda value: NAN if value is None else value),
    PlainSerializer(lambda value: value if isfinite(value) else None, when_used="json"),
    WithJsonSchema({"type": ["number", "null"]}),
]
"""A number that may not exist (no fraud, no row): NaN here, null in a file."""

Interval = tuple[Figure, Figure]
"""Low and high end."""

_KEYS = {
    "recall_at_0_1_percent": "recall_at_0.1%",
    "precision_at_0_1_percent": "precision_at_0.1%",
    "recall_at_1_percent": "recall_at_1%",
    "precision_at_1_percent": "precision_at_1%",
    "scenario_recall": "scenario_recall_at_0.1%",
    "folds": "parts",
    "worst_fold": "worst_part",
    "from_": "from",
    "float_": "float",
}
"""Keys that are no Python names, or that were named before a test period was called a fold."""


class IncompleteError(ModelError):
    """A file lacks what this version writes: another version wrote it, or it was changed."""


class Facts(BaseModel):
    """A JSON object. A key that was not given when it was made is left out of the file."""

    model_config = ConfigDict(
        alias_generator=lambda name: _KEYS.get(name, name),
        populate_by_name=True,
        protected_namespaces=(),
    )

    def as_json(self) -> dict[str, object]:
        """The object, as :mod:`json` takes it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class ResultFile(Facts):
    """A JSON file of a run."""

    NAME: ClassVar[str]
    """Of the file."""
    VERSION: ClassVar[int] = 1
    """Newest version of the schema that is read; the one that is written."""

    schema_version: int = 1

    def as_json(self) -> dict[str, object]:
        """The object, as :mod:`json` takes it, with the version of its schema."""
        return {**super().as_json(), "schema_version": self.VERSION}

    @classmethod
    def parse(cls, found: Mapping[str, object], where: str) -> Self:
        """The object of the file ``where``. Raises ModelError for a newer schema, IncompleteError
        for what is missing or of another type."""
        version = found.get("schema_version", 1)
        if not isinstance(version, int) or version > cls.VERSION:
            raise ModelError(
                f"{where}: has schema version {version}, and this tinyfin reads versions up to "
                f"{cls.VERSION}; use the tinyfin that wrote it, or make the file again"
            )
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise IncompleteError(
                f"{where}: {key}: {first['msg'][:1].lower()}{first['msg'][1:]}; another version of "
                "tinyfin wrote it, or it was changed: make it again"
            ) from error
