# SPDX-License-Identifier: Apache-2.0
"""`pio test`, `pio check` and `pio device monitor` in this project do what their users expect."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.process import call
from tinyfin import paths
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.links import ProcessLink
from tinyfin.wire.messages import Answer

pytestmark = pytest.mark.live

ROOT = paths.project_dir()
DEADLINE_S = 280


def pio(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no", **environment}
    command = sys.executable, "-m", "platformio", *words
    return call(*command, code=None, cwd=ROOT, env=env, deadline_s=DEADLINE_S)


@pytest.fixture
def workspace(tmp_path: Path) -> dict[str, str]:
    """Build folders of this test alone."""
    return {
        "PLATFORMIO_BUILD_DIR": str(tmp_path / "build"),
        "PLATFORMIO_WORKSPACE_DIR": str(tmp_path / "pio"),
    }


def cases(done: subprocess.CompletedProcess[str], report: Path) -> dict[str, str]:
    assert report.is_file(), done.stdout + done.stderr
    (suite,) = (
        s for s in json.loads(report.read_text())["test_suites"] if s["status"] != "SKIPPED"
    )
    return {case["name"]: case["status"] for case in suite["test_cases"]}


@pytest.mark.parametrize("env", ["native", "cortex-m4"])
def test_the_engine_passes_its_own_checks(
    env: str, tmp_path: Path, workspace: dict[str, str]
) -> None:
    report = tmp_path / "report.json"
    words = ("test", "-e", env, "--json-output-path", str(report))
    done = pio(*words, **workspace)
    found = cases(done, report)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(found) == 12
    assert set(found.values()) == {"PASSED"}
    # the control: a wrong kernel gives other bytes than the golden ones
    report.unlink()
    done = pio(*words, **workspace, PLATFORMIO_BUILD_FLAGS="-DTFIN_SABOTAGE_KERNEL")
    found = cases(done, report)
    assert done.returncode != 0
    opened = "the pack opens, and its golden vectors give the expected bytes"
    assert found[opened] == "FAILED"


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="needs cppcheck")
def test_check_finds_nothing_and_asks_no_registry(workspace: dict[str, str]) -> None:
    done = pio("check", "-e", "cortex-m4", "--fail-on-defect", "low", **workspace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No defects found" in done.stdout
    # the control: a defect is found, through the same options
    bad = workspace["PLATFORMIO_BUILD_DIR"] + "/bad"
    Path(bad).mkdir(parents=True)
    (Path(bad) / "bad.c").write_text("int f(void) { int a[2]; a[2] = 1; return a[2]; }\n")
    done = pio(
        "check", "-e", "cortex-m4", "-f", f"+<{bad}>", "--fail-on-defect", "high", **workspace
    )
    assert done.returncode != 0
    assert "arrayIndexOutOfBounds" in done.stdout


def until(text: str, terminal: int, serial: Callable[[], None]) -> str:
    """What the monitor prints on its terminal, until ``text`` is in it."""
    shown = ""
    end = time.monotonic() + DEADLINE_S
    while text not in shown and time.monotonic() < end:
        serial()
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    assert text in shown
    return shown


def test_the_monitor_shows_frames_as_text(tmp_path: Path, workspace: dict[str, str]) -> None:
    """A real terminal's HELLO, a log, a boot loader's line and a damaged frame."""
    assert pio("pkg", "install", "-e", "cortex-m4", **workspace).returncode == 0
    line, line_name = pty.openpty()
    terminal, mine = pty.openpty()
    link = ProcessLink([str(build_host_terminal(sample.make_pack(), cflags=("-O1",)))])
    words = ["device", "monitor", "-e", "cortex-m4", "--port", os.ttyname(line_name)]
    command = [sys.executable, "-m", "platformio", *words, "--no-reconnect"]
    env = {**os.environ, **workspace}
    monitor = subprocess.Popen(command, cwd=ROOT, env=env, stdin=mine, stdout=mine, stderr=mine)
    try:
        until("Terminal on", terminal, lambda: None)
        log = encode_frame(Answer.LOG, 0, bytes([1, 10]) + b"low \x1b power")
        os.write(line, b"boot ROM v1\r\n\0")
        shown = until("HELLO", terminal, lambda: os.write(line, link.read(0.0)) and None)
        assert "boot ROM v1" in shown
        assert re.search(r"HELLO: host, build unnamed, pack [0-9a-f]{32}: runs", shown)
        damaged = bytearray(log)
        damaged[5] ^= 1
        os.write(line, bytes(damaged) + log)
        shown = until("warning: low", terminal, lambda: None)
        assert "\x1b power" not in shown
    finally:
        monitor.terminate()
        monitor.wait(DEADLINE_S)
        link.close()
        for end in (line, line_name, terminal, mine):
            os.close(end)
