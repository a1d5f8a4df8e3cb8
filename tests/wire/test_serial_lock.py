# SPDX-License-Identifier: Apache-2.0
"""A serial port has one program at a time: two users, root, and programs that lock nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.users import ANNA, BEN, Other, Say, needs_root
from tinyfin.errors import BenchError, TargetError
from tinyfin.wire import devices
from tinyfin.wire.client import Client
from tinyfin.wire.links import LinkAround, ProcessLink
from tinyfin.wire.serial_link import SerialLink, open_link

pytestmark = pytest.mark.live


@pytest.fixture
def port() -> Iterator[str]:
    """A port that everybody may open; only its far end is open here."""
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    os.chmod(name, 0o666)
    os.close(slave)
    yield name
    os.close(master)


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat pseudo-terminals as what they stand for here: real ports."""
    monkeypatch.setattr(devices, "_PTS", ())


def opens(port: str) -> Other:
    """Anna's process (or ours), which has the port open."""

    def work(say: Say) -> None:
        link = SerialLink(port)
        say("open")
        time.sleep(600)
        link.close()

    other = Other(ANNA if os.geteuid() == 0 else os.getuid(), work)
    assert other.line() == "open"
    return other


def tries(port: str) -> str:
    """What Ben's process (or ours) gets."""

    def work(say: Say) -> None:
        try:
            SerialLink(port).close()
        except BenchError as error:
            say(str(error))
        else:
            say("open")

    with Other(BEN if os.geteuid() == 0 else os.getuid(), work) as other:
        return other.line()


def test_a_second_program_is_refused_and_hears_who_has_it(port: str) -> None:
    with opens(port) as first:
        assert f"{port}: in use by " in (said := tries(port))
        assert f"process {first.pid}" in said
        first.kill()
        assert tries(port) == "open", "the kernel has let go of it"


@needs_root
def test_root_is_refused_too(port: str) -> None:
    with (
        opens(port) as first,
        pytest.raises(BenchError, match=rf"in use by nobody, process {first.pid}"),
    ):
        SerialLink(port)


@needs_root
@pytest.mark.usefixtures("real")
def test_a_program_that_locks_nothing_cannot_open_it(port: str) -> None:
    def work(say: Say) -> None:
        try:
            os.close(os.open(port, os.O_RDWR | os.O_NOCTTY))
        except OSError as error:
            say(str(error.errno))
        else:
            say("open")

    with opens(port), Other(BEN, work) as other:
        assert other.line() == str(errno.EBUSY)
    link = SerialLink(port)
    link.close()
    with Other(BEN, work) as other:
        assert other.line() == "open", "closed, it is everybody's again"


def exclusive(descriptor: int) -> bool:
    """Whether the port is kept from others, asked of the kernel."""
    answer = bytearray(4)
    fcntl.ioctl(descriptor, 0x80045440, answer)  # TIOCGEXCL
    return bool(int.from_bytes(answer, "little"))


@pytest.mark.usefixtures("real")
def test_a_reset_leaves_it_locked(port: str) -> None:
    seen: list[bool] = []
    link = SerialLink(port, reset=lambda serial: seen.append(exclusive(serial.fileno())))
    assert exclusive(link._port.fileno())
    link.reset()
    assert seen == [False], "a tool that resets the board may open the port"
    assert exclusive(link._port.fileno())
    link.close()
    link = SerialLink(port, reset=lambda serial: serial.close())
    link.reset()
    assert exclusive(link._port.fileno())
    link.close()


@pytest.mark.usefixtures("real")
def test_one_that_was_there_before_and_locks_nothing_is_found(port: str) -> None:
    """A terminal program left open reads every second byte of a session."""

    def work(say: Say) -> None:
        os.open(port, os.O_RDWR | os.O_NOCTTY)
        say("open")
        time.sleep(600)

    with Other(os.getuid(), work) as first:
        assert first.line() == "open"
        with pytest.raises(BenchError, match=rf"in use by .*process {first.pid} .*end that"):
            SerialLink(port)
        plain = os.open(port, os.O_RDWR | os.O_NOCTTY)
        assert not exclusive(plain), "whoever was refused leaves the port as it was"
        os.close(plain)
    SerialLink(port).close()


HOLD = (
    "import os, sys, time\n"
    "os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)\n"
    "print('open', flush=True)\ntime.sleep(600)\n"
)
MAKE = (
    "import os, pty, sys, time, tty\nmaster, slave = pty.openpty()\ntty.setraw(slave)\n"
    "print(os.ttyname(slave), flush=True)\n"
    "while True:\n    os.write(master, sys.argv[1].encode())\n    time.sleep(0.02)\n"
)


@contextlib.contextmanager
def child(script: str, word: str) -> Iterator[tuple[int, str]]:
    """A program, and the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, word],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.pid, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("comes", "words"), [("", "not a byte came"), ("login: ", "bytes came, but no frame")]
)
def test_a_program_that_has_it_open_and_locks_nothing_is_named(comes: str, words: str) -> None:
    """At a pseudo-terminal it keeps no program out, so it is named where answers are missing."""
    with child(MAKE, comes) as (maker, device):

        def said() -> str:
            client = Client(SerialLink(device))
            try:
                with pytest.raises(TargetError) as told:
                    client.connect(0.5)
            finally:
                client.close()
            assert words in str(told.value)
            return str(told.value)

        with child(HOLD, device) as (holder, answer):
            assert answer == "open"
            text = said()
            assert f"The port is also open in {devices.process_words(holder)}: end that" in text
            assert f"process {holder} (" in text
            assert f"process {maker} " not in text, "its far end is no user of it"
        assert "also open" not in said(), "control: no other program has it"


def test_it_is_named_in_the_middle_of_a_session_too(program: Path) -> None:
    """Behind whatever lies around the link, as a suite has it."""
    inner = ProcessLink([str(program)])
    client = Client(LinkAround(inner), answer_timeout_s=0.2, deadline_s=0.6)
    client.connect()
    inner.others = lambda: ["anna, process 7 (picocom)"]  # type: ignore[attr-defined]
    inner.read = lambda timeout_s: time.sleep(timeout_s) or b""  # type: ignore
    with pytest.raises(TargetError, match=r"hangs.*also open in anna, process 7 \(picocom\): end"):
        client.stats()
    inner.close()


def test_what_is_no_port_says_what_it_is(port: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name, words in (
        (tmp_path / "none", "there is no such port; "),
        (tmp_path / "file", "is no serial port; "),
        (tmp_path, "is no serial port; "),
        (Path("/dev/null"), "is no serial port; "),
    ):
        with pytest.raises(BenchError, match=f"{name}: {words}"):
            open_link(str(name))


@needs_root
@pytest.mark.parametrize(
    ("group", "words"), [(20, "sudo usermod -aG dialout"), (0, "copy hil/70-tinyfin.rules")]
)
def test_who_may_not_open_it_hears_how_to_be_let_in(
    port: str, group: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(port, 0, group)
    os.chmod(port, 0o660)
    said = tries(port)
    assert f"{port}: this user may not open it; " in said
    assert words in said
    assert "hil/70-tinyfin.rules" in said


def test_a_new_member_of_the_group_has_to_log_in_again(
    port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import grp

    about = os.stat(port)
    me = devices.user_name(os.geteuid())
    group = grp.struct_group(("dialout", "x", 4242, [me]))
    monkeypatch.setattr(grp, "getgrgid", lambda number: group)
    said = devices.explain(port, PermissionError(errno.EACCES, "Permission denied"))
    assert f"{me} is in group dialout but this session began before: log in again" in said
    assert stat.S_ISCHR(about.st_mode)


def test_the_lock_can_fail(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without flock two programs open one port."""
    import serial

    with opens(port):
        assert "in use by" in tries(port)
    monkeypatch.setattr(serial.Serial, "exclusive", property(lambda s: None, lambda s, v: None))
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, kind: None)
    with opens(port):
        assert tries(port) == "open"
