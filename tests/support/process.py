# SPDX-License-Identifier: Apache-2.0
"""Run a program and give what it wrote; skip a test whose program is not installed."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120


def need(*programs: str) -> None:
    """Skip the test unless all of them are installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; `tinyfin doctor` says how to install it")


needs_cortex_m = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None,
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)


def call(
    *words: object, code: int | None = 0, deadline_s: float = DEADLINE_S, **how: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command that must end with ``code`` (None: any); ``how`` goes to subprocess.run."""
    command = [str(word) for word in words]
    how = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, **how}
    done = subprocess.run(command, timeout=deadline_s, **how)
    shown = f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    assert code is None or done.returncode == code, shown
    return done


def tinyfin_process(line: str, *words: object, **how: Any) -> subprocess.CompletedProcess[str]:
    """``python -m tinyfin`` in a process of its own, with words as tests.support.cli takes them."""
    return call(sys.executable, "-m", "tinyfin", *shlex.split(line), *words, **how)
