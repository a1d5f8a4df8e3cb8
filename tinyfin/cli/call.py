# SPDX-License-Identifier: Apache-2.0
"""Call a command from Python as it is typed in a shell."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tinyfin import errors
from tinyfin.errors import TinyfinError, ToolError

__all__ = ["call_verb"]


def call_verb(command: str | Sequence[str], *, exit_code: int = 0) -> dict[str, Any]:
    """Run ``tinyfin COMMAND --json`` in a process of its own and return its result.

    ``command`` is one text as in a shell, or a list of words, which may hold blanks.
    ``exit_code``: the one that is expected; a command that ends so also returns its result, which
    after a refusal is ``{"error": {"kind", "message", "exit_code"}}``. Raises the error that the
    command ended with, or ToolError when it ended in another way.
    """
    given = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    words = [sys.executable, "-m", "tinyfin", *given, "--json"]
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
        f"tinyfin {shlex.join(given)}: ended with exit code {done.returncode}, expected "
        f"{exit_code}; it says:\n{done.stderr.strip()[-2000:]}"
    )
