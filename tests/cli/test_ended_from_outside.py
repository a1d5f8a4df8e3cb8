# SPDX-License-Identifier: Apache-2.0
"""What ends a verb from outside still lets it end what it has started."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinyfin.paths import project_dir
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


SLOW = """
import hashlib, pathlib, sys
from types import ModuleType
import click
import tinyfin.cli as cli
from tinyfin import files

@click.command()
def command():
    with files.folder(pathlib.Path(sys.argv[2])) as made:
        files.write(made / "half", "half")
        print("begun", flush=True)
        while True:
            try:  # native code, which no Python handler interrupts, and which swallows exceptions
                hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
            except BaseException:
                pass

cli.VERBS = (("wait", "waiting", "Wait."),)
cli._exists = lambda module: True
sys.modules["waiting"] = ModuleType("waiting")
sys.modules["waiting"].command = command
place = sys.argv[1]
sys.argv = ["tinyfin", "wait", place]
command.params.append(click.Argument(["place"]))
command.callback = lambda place, call=command.callback: call()
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("twice", [False, True])
def test_native_code_does_not_hold_an_interrupt_up(
    tmp_path: Path, number: signal.Signals, twice: bool
) -> None:
    place = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(place)], stdout=subprocess.PIPE, text=True
    ) as verb:
        try:
            assert verb.stdout is not None
            assert verb.stdout.readline() == "begun\n"
            verb.send_signal(number)
            if twice:
                time.sleep(0.5)
                verb.send_signal(number)
            assert verb.wait(60) == 128 + number
        finally:
            verb.kill()
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def processes(mark: str) -> list[int]:
    """Processes whose command line has a mark in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "cmdline").read_text(errors="replace"):
                found.append(int(entry.name))
    return found


def slow_compiler(folder: Path) -> str:
    """A compiler that never ends, first on PATH; what its command line has."""
    mark = f"slow{os.getpid()}x{secrets.token_hex(4)}"
    program = folder / "arm-none-eabi-gcc"
    program.write_text(f"#!/bin/sh\nexec sh -c 'sleep 600; true' {mark}\n")
    program.chmod(0o755)
    return mark


@pytest.mark.parametrize(
    "words",
    [
        "build PACK --target cortex-m4",
        "budget PACK --target cortex-m4 --target cortex-m3 --no-measure",
        "hil run --rig RIG --out OUT",
    ],
)
def test_ctrl_c_ends_the_children_and_gives_130(tmp_path: Path, words: str) -> None:
    mark = slow_compiler(tmp_path)
    pack = tmp_path / "model.tfpack"
    shutil.copy(project_dir() / "models" / "payment" / "model.tfpack", pack)
    rig = tmp_path / "rig.toml"
    rig.write_text(
        f'[rig]\nname = "slow"\nrun = "{pack}"\n'
        '[targets.m4]\ntarget = "cortex-m4"\nemulated = true\n'
    )
    names = {"PACK": pack, "RIG": rig, "OUT": tmp_path / "results"}
    verb = subprocess.Popen(
        [sys.executable, "-m", "tinyfin", *(str(names.get(word, word)) for word in words.split())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TINYFIN_CACHE": str(tmp_path / "cache")},
    )
    try:
        deadline = time.monotonic() + 120
        while not processes(mark):
            assert verb.poll() is None, verb.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        verb.send_signal(signal.SIGINT)
        _, said = verb.communicate(timeout=120)
    finally:
        verb.kill()
    assert verb.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not processes(mark)
    assert not (tmp_path / "results" / "result.json").exists()


def test_an_interrupt_says_so_as_json_too() -> None:
    program = (
        VERB.replace("time.sleep(60)", "raise KeyboardInterrupt")
        .replace('["tinyfin", "wait"]', '["tinyfin", "wait", "--json"]')
        .replace("def command():", "def command(as_json):")
        .replace(
            "@click.command()", '@click.command()\n@click.option("--json", "as_json", is_flag=True)'
        )
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 130
    error = json.loads(done.stdout.partition("cleaned up\n")[2])["error"]
    assert (error["kind"], error["exit_code"]) == ("Interrupted", 130)


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
