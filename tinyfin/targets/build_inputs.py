# SPDX-License-Identifier: Apache-2.0
"""What a firmware build reads, so that a process need not build the same image again."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tinyfin import paths

__all__ = ["fingerprint"]

_ENVIRONMENT = ("PATH", "TINYFIN_", "PLATFORMIO_", "SCONS")


def fingerprint(settings: Mapping[str, str]) -> tuple[object, ...]:
    """Equal as long as nothing has changed that a build with ``settings`` is made of.

    Those are the settings, the files and folders that they name, ``platformio.ini``, the firmware
    tree, and the environment. Of the tree's files name, size and time of the last change count; of
    those that the settings name the content, because a pack in the cache is touched when used.
    """
    project = paths.project_dir()
    named = [Path(value) for value in settings.values() if os.path.isabs(value)]
    if own := os.environ.get("TINYFIN_MONOCYPHER"):
        named.append(Path(own))
    tree = [
        (str(path), about.st_size, about.st_mtime_ns)
        for place in (project / "platformio.ini", project / "firmware")
        for path, about in _files(place)
    ]
    given = [
        (str(path), hashlib.sha256(path.read_bytes()).digest())
        for place in named
        for path, _ in _files(place)
    ]
    around = sorted(i for i in os.environ.items() if i[0].startswith(_ENVIRONMENT))
    return (tuple(sorted(settings.items())), tuple(around), tuple(tree), tuple(given))


def _files(place: Path) -> Iterator[tuple[Path, os.stat_result]]:
    found = [place]
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        found += [Path(folder, name) for name in sorted(names)]
    for path in found:
        with contextlib.suppress(FileNotFoundError):  # an editor's dangling link
            about = path.stat()
            if not path.is_dir():
                yield path, about
