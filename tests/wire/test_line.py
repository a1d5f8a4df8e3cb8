# SPDX-License-Identifier: Apache-2.0
"""The serial line before a program: every byte, in order, never faster than its speed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import sample
from tinyfin.hil.links.host_process import build_host_line
from tinyfin.hil.links.throttle import LineLink, bytes_per_second
from tinyfin.wire.client import Client

pytestmark = pytest.mark.live

BAUD = 921_600
ECHO = [sys.executable, "-u", "-c", "import os\nwhile d := os.read(0, 65536): os.write(1, d)"]


@pytest.fixture
def echo() -> Iterator[LineLink]:
    with closing(LineLink(ECHO, BAUD)) as link:
        yield link


def through(link: LineLink, data: bytes) -> tuple[bytes, float]:
    """What came back, and the seconds until it was whole."""
    start = time.monotonic()
    back = b""
    at = 0
    while len(back) < len(data) and time.monotonic() - start < 20:
        if at - len(back) < 4096:
            link.write(data[at : at + 1024])
            at += len(data[at : at + 1024])
        back += link.read(0.0 if at < len(data) else 0.5)
    return back, time.monotonic() - start


def test_every_byte_comes_through_no_faster_than_the_line(echo: LineLink) -> None:
    data = random.Random(1).randbytes(40_000)
    back, seconds = through(echo, data)
    assert back == data
    assert seconds >= len(data) / bytes_per_second(BAUD)


def test_an_idle_line_saves_no_time_up(echo: LineLink) -> None:
    assert through(echo, b"awake")[0] == b"awake"
    time.sleep(0.3)  # as long as 27,000 bytes take
    data = random.Random(2).randbytes(9_216)
    back, seconds = through(echo, data)
    assert back == data
    assert seconds >= len(data) / bytes_per_second(BAUD)


def test_a_reader_that_sleeps_loses_nothing(echo: LineLink) -> None:
    data = random.Random(3).randbytes(60_000)
    for at in range(0, len(data), 1000):
        echo.write(data[at : at + 1000])
    time.sleep(0.5)
    back = b""
    while len(back) < len(data) and (more := echo.read(5.0)):
        back += more
    assert back == data


def test_what_a_program_says_last_is_heard() -> None:
    program = [sys.executable, "-c", "import sys; sys.stdin.read(1); print('x' * 999 + 'end')"]
    with closing(LineLink(program, 115_200)) as link:
        link.write(b"g")
        heard = b""
        while not heard.endswith(b"end\n"):
            more = link.read(10.0)
            assert more
            heard += more
    assert len(heard) == 1003


def test_a_reset_restarts_both(echo: LineLink) -> None:
    before = echo.name
    echo.write(b"lost")
    echo.reset()
    assert through(echo, b"found")[0] == b"found"
    assert before != echo.name or echo.read(0.0) == b""


def test_a_replay_over_it_is_equal_and_its_use_is_known(program: Path) -> None:
    with closing(Client(LineLink([str(program)], BAUD))) as client:
        result = sample.replayed(client, limit=300)
    result.check()
    result.baud = BAUD
    assert result.line_use is not None
    assert 0 < result.line_use <= 1


def test_it_ends_with_its_owner() -> None:
    line = subprocess.Popen(
        [str(build_host_line()), "115200", *ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert line.stdin is not None
    assert line.stdout is not None
    assert line.stdout.readline().startswith(b"/dev/")
    line.stdin.close()
    assert line.wait(10.0) == 0
    line.stdout.close()


def test_a_wrong_call_is_named() -> None:
    done = subprocess.run([str(build_host_line()), "fast", "x"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "usage: line BAUD PROGRAM [ARGUMENT...]\n")
