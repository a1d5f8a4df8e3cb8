# SPDX-License-Identifier: Apache-2.0
"""What ends a verb from outside still lets it end what it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinyfin.targets import catalogue
from tinyfin.targets.emulate import Emulator

pytestmark = pytest.mark.live

VERB = """
import sys, time
from types import ModuleType
import click
import tinyfin.cli as cli

@click.command()
def command():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

cli.VERBS = (("wait", "waiting", "Wait."),)
cli._exists = lambda module: True
sys.modules["waiting"] = ModuleType("waiting")
sys.modules["waiting"].command = command
sys.argv = ["tinyfin", "wait"]
cli.main()
"""


def test_a_terminated_verb_cleans_up() -> None:
    with subprocess.Popen([sys.executable, "-c", VERB], stdout=subprocess.PIPE, text=True) as verb:
        try:
            assert verb.stdout is not None
            assert verb.stdout.readline() == "begun\n"
            verb.terminate()
            assert verb.stdout.readline() == "cleaned up\n"
            assert verb.wait(30) == 128 + signal.SIGTERM
        finally:
            verb.kill()


def test_an_interrupt_while_the_emulator_starts_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "qemu-system-arm"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    image = tmp_path / "firmware.elf"
    image.touch()
    emulator = Emulator(catalogue.get("cortex-m4"), image)
    pids = []

    def interrupted(self: Emulator) -> None:
        pids.append(self.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(Emulator, "check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        emulator.start()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
