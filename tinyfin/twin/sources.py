# SPDX-License-Identifier: Apache-2.0
"""Whether the twin was compiled from the sources that are here.

In a checkout the C sources change under a compiled twin. One that is older computes something else
than the firmware that is built with it, or does not even take the same arguments.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from tinyfin import paths
from tinyfin.errors import ToolError

__all__ = ["changed", "require_unchanged"]

_LIST = "sources.sha256"
"""Next to the extension: what it was compiled from, written by CMakeLists.txt."""

_PATTERNS = (
    "firmware/lib/tinyfin/src/**/*.[ch]",
    "firmware/lib/tinyfin/include/*.h",
    "tinyfin/twin/*.cpp",
    "tinyfin/twin/*.[ch]",
)


def require_unchanged() -> None:
    """ToolError in a checkout whose twin was compiled from other sources."""
    if not paths.is_checkout():
        return
    spec = importlib.util.find_spec("tinyfin.twin._native")
    if spec is None or spec.origin is None:
        raise ToolError("the twin is not compiled; run: make install")
    found = changed(Path(spec.origin).with_name(_LIST), paths.project_dir())
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise ToolError(
            f"the twin was compiled from other sources ({found[0]}{more}); run: make install"
        )


def changed(listed: Path, root: Path) -> list[str]:
    """Sources that are new, gone or other than ``listed`` says, by name; only those that were
    written after the list are read. [] without a list."""
    try:
        when = listed.stat().st_mtime
        lines = listed.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    then = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    now = {
        path.relative_to(root).as_posix(): path
        for pattern in _PATTERNS
        for path in root.glob(pattern)
    }
    other = set(then) ^ set(now)
    for name in set(then) & set(now):
        if now[name].stat().st_mtime > when:
            digest = hashlib.sha256(now[name].read_bytes()).hexdigest()
            if digest != then[name]:
                other.add(name)
    return sorted(other)
