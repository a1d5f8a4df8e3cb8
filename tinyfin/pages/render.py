# SPDX-License-Identifier: Apache-2.0
"""The templates of a room, with the blocks and the style that all pages share."""

from __future__ import annotations

from typing import Any

__all__ = ["environment"]


def environment(package: str) -> Any:
    """A strict, escaping jinja2 environment over ``package``'s templates and those of this room."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("tinyfin.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
