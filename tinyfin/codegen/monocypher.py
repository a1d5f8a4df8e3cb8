# SPDX-License-Identifier: Apache-2.0
"""Monocypher's C, which codegen puts next to the engine.

The one implementation is ``firmware/scripts/monocypher.py``, which PlatformIO runs too.
"""

from __future__ import annotations

from pathlib import Path

from tinyfin import files, paths
from tinyfin.errors import ToolError
from tinyfin.progress import stage

__all__ = ["DEFINES", "FOLDER", "obtain", "put_beside"]

DEFINES = ("BLAKE2_NO_UNROLLING",)
FOLDER = "monocypher"
"""Where its C is, next to the pack's."""


def obtain(cache: Path | None = None) -> Path:
    """A folder with ``monocypher.c`` and ``monocypher.h``, verified against their SHA-256.

    Fetched through pip at the first call, into ``cache`` (by default tinyfin's); no network after
    that. ``TINYFIN_MONOCYPHER`` names a folder that already holds them. Raises ToolError.
    """
    script = paths.firmware_script("monocypher")
    try:
        with stage("fetching Monocypher"):
            folder = script.obtain(cache or paths.cache_dir())
    except script.MonocypherError as error:
        raise ToolError(str(error)) from error
    return Path(folder)


def put_beside(folder: Path, cache: Path | None = None) -> list[Path]:
    """Copy the two files of :func:`obtain` into ``folder``, made when missing. Raises ToolError,
    InputError when they cannot be written."""
    source = obtain(cache)
    return [
        files.write(folder / name, (source / name).read_bytes(), make_folder=True)
        for name in ("monocypher.c", "monocypher.h")
    ]
