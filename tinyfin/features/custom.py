# SPDX-License-Identifier: Apache-2.0
"""Features that users define in tinyfin.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinyfin.errors import ConfigError
from tinyfin.features.definition import Feature

__all__ = ["define_feature"]


def define_feature(name: str, table: Mapping[str, Any], number: int,
                   own: Mapping[str, Feature]) -> Feature:
    """The feature that ``[features.NAME]`` describes. Raises ConfigError naming key and fix."""
    raise ConfigError(f"features.{name}: own features are not offered yet")
