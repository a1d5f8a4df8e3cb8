# SPDX-License-Identifier: Apache-2.0
"""Call a verb from Python as it is typed in a shell."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import Any

from tinyfin import errors
from tinyfin.errors import TinyfinError, ToolError

__all__ = ["call_verb"]


def call_verb(command: str, *, exit_code: int = 0) -> dict[str, Any]:
    """Run ``tinyfin COMMAND --json`` in a process of its own and return its result.

    ``exit_code``: the one that is expected; a verb that ends with it returns its result too, which
    after a refusal is ``{"error": {"kind", "message", "exit_code"}}``. Raises the error that the
    verb ended with, or ToolError when it ended in another way.
    """
    words = [sys.executable, "-m", "tinyfin", *shlex.split(command), "--json"]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
    )
    result: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if done.returncode == exit_code:
        return result
    found = result.get("error", {})
    kind = getattr(errors, found.get("kind", ""), None)
    if isinstance(kind, type) and issubclass(kind, TinyfinError):
        raise kind(found["message"])
    raise ToolError(
        f"tinyfin {command}: ended with exit code {done.returncode}, expected {exit_code}; "
        f"it says:\n{done.stderr.strip()[-2000:]}"
    )
