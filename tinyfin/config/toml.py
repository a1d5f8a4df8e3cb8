# SPDX-License-Identifier: Apache-2.0
"""TOML files as people save them, with one set of errors."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tinyfin.documents import first_fault
from tinyfin.errors import ConfigError

__all__ = ["read_as", "read_toml"]

M = TypeVar("M", bound=BaseModel)

_PART = r"""[^\s,.=\#{}\[\]]"""
_DEEP_KEY = re.compile(rf"(?<!{_PART})(?:{_PART}++[ \t]*+\.[ \t]*+){{100}}")


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file, with or without a byte order mark. Raises ConfigError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}; check the path") from error
    try:
        text = data.decode("utf-8-sig")
        if _DEEP_KEY.search(text):  # tomllib takes minutes for some of them
            raise RecursionError
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}: line {line} is not UTF-8 (byte 0x{data[error.start]:02X}); save the file as "
            "UTF-8"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is not TOML: it is nested too deep") from error
    except ValueError as error:  # tomllib's own among them
        raise ConfigError(f"{path}: is not TOML: {error}; correct that line") from error


def read_as(model: type[M], path: str | Path, table: dict[str, Any] | None = None) -> M:
    """What a TOML file describes; ``table``: its tables, if they were read. Raises ConfigError."""
    try:
        return model.model_validate(read_toml(path) if table is None else table)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_fault(error)}") from error
