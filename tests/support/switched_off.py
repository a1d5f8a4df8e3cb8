# SPDX-License-Identifier: Apache-2.0
"""Firmware with one of its rules switched off, for tests that must then fail."""

from __future__ import annotations

import shutil
from pathlib import Path


def switched_off(sources: Path, file: str, text: str, instead: str, folder: Path) -> Path:
    """A copy of the C files of ``sources``, in ``folder``, where ``text``, which ``file`` has once,
    is ``instead``."""
    copy = folder / "src"
    copy.mkdir()
    for path in sources.glob("*.[ch]"):
        shutil.copy(path, copy)
    source = copy / file
    whole = source.read_text()
    assert whole.count(text) == 1
    source.write_text(whole.replace(text, instead))
    return copy
