# SPDX-License-Identifier: Apache-2.0
"""Where board files are: those of tinyfin, and your own.

Own board files are where PlatformIO looks for them: in the project's ``boards`` folder, or in the
one that ``boards_dir`` of its ``platformio.ini`` or ``PLATFORMIO_BOARDS_DIR`` names. The project is
the current folder. ``--boards`` and ``TINYFIN_BOARDS`` name further folders.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path

from tinyfin import paths
from tinyfin.errors import ConfigError

__all__ = ["ENVIRONMENT", "built_in", "named", "own_folders"]

ENVIRONMENT = "TINYFIN_BOARDS"
"""Folders with own board files, separated as in ``PATH``."""


def built_in() -> Path:
    """The folder of tinyfin's board files."""
    return paths.firmware_dir() / "platform" / "boards"


def named() -> list[Path]:
    """The folders of ``--boards`` and ``TINYFIN_BOARDS``."""
    return [Path(word) for word in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if word]


def own_folders(more: Path | None = None) -> list[Path]:
    """The folders that hold own board files; the first one that has a board counts.

    more: one that goes before the others. Raises ConfigError for a named folder that does not
    exist.
    """
    given = ([] if more is None else [more]) + named()
    for folder in given:
        if not folder.is_dir():
            raise ConfigError(
                f"{folder}: no such folder; --boards, {ENVIRONMENT} and boards of a rig file name "
                "folders of board files"
            )
    found = [folder.resolve() for folder in (*given, _of_project()) if folder.is_dir()]
    return [folder for folder in dict.fromkeys(found) if folder != built_in().resolve()]


def _of_project() -> Path:
    """The boards folder of the PlatformIO project in the current folder."""
    given = os.environ.get("PLATFORMIO_BOARDS_DIR")
    if given:
        return Path(given)
    ini = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        ini.read("platformio.ini", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):  # PlatformIO itself says what is wrong
        return Path("boards")
    chosen = ini.get("platformio", "boards_dir", fallback="boards")
    return Path("boards" if "${" in chosen else chosen)
