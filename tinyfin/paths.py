# SPDX-License-Identifier: Apache-2.0
"""Where the firmware project is: in a checkout, or carried inside an installed package."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from pathlib import Path
from types import ModuleType

from tinyfin.errors import InputError, ToolError

__all__ = ["cache_dir", "firmware_dir", "firmware_script", "is_checkout", "project_dir"]

_PACKAGE = Path(__file__).resolve().parent


def is_checkout() -> bool:
    """True in a checkout (an editable install too), False in an installed package."""
    return (_PACKAGE.parent / "platformio.ini").is_file()


def project_dir() -> Path:
    """The folder with ``platformio.ini``, ``firmware/`` and ``models/``; treat it as read-only.

    Raises ToolError when the package was installed without it.
    """
    root = _PACKAGE.parent if is_checkout() else _PACKAGE / "_project"
    if not (root / "platformio.ini").is_file():
        raise ToolError(
            f"{root}: the firmware project is not part of this installation; "
            "install tinyfin again from its wheel or source distribution"
        )
    return root


def firmware_dir() -> Path:
    """``firmware/``: engine, application, ports, PlatformIO platform."""
    return project_dir() / "firmware"


def firmware_script(name: str) -> ModuleType:
    """``firmware/scripts/NAME.py``, which PlatformIO runs too, as a module. Raises ToolError."""
    path = firmware_dir() / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"tinyfin_{name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ToolError(f"{path}: cannot be read; install tinyfin again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cache_dir() -> Path:
    """Where builds and downloads may be kept: ``TINYFIN_CACHE``, the checkout's ``.pio/tinyfin``
    (gone with ``make clean``), or the user's cache folder. Created when missing. Raises InputError
    when everybody may write there."""
    chosen = os.environ.get("TINYFIN_CACHE")
    if chosen:
        folder = Path(chosen)
        if folder.is_dir() and folder.stat().st_mode & stat.S_IWOTH:
            raise InputError(
                f"{folder}: everybody may write there, and programs of the cache are run; name a "
                "folder of your own in TINYFIN_CACHE"
            )
    elif is_checkout():
        folder = _PACKAGE.parent / ".pio" / "tinyfin"
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches" / "tinyfin"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinyfin"
    folder.mkdir(0o755, parents=True, exist_ok=True)
    return folder
