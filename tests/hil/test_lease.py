# SPDX-License-Identifier: Apache-2.0
"""A board belongs to one job at a time, whichever user's, and to none when its job is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from tests.hil.faulty_bench import spec
from tests.hil.test_ports import BUS
from tests.support.users import ANNA, BEN, Other, Say, needs_root
from tinyfin.errors import BenchError
from tinyfin.hil.links import session
from tinyfin.hil.rigs import lease
from tinyfin.hil.rigs.lease import Lease, holder
from tinyfin.hil.rigs.ports import lease_names, names_at
from tinyfin.hil.rigs.rigfile import TargetSpec, from_table
from tinyfin.hil.runs.probe import reached

pytestmark = pytest.mark.live


@pytest.fixture
def board() -> str:
    """A name that no other run of the tests has."""
    return f"board {uuid.uuid4()}"


def taken(*names: str, wait_s: float = 0.0) -> None:
    with Lease(names, "mine", wait_s=wait_s):
        pass


def test_one_at_a_time_and_the_other_hears_who(board: str) -> None:
    with Lease([board], "nightly"):
        with pytest.raises(BenchError, match=rf"process {os.getpid()} .*: nightly, since \d\d:"):
            taken(board)
        taken(f"another {board}")
        assert "nightly" in (holder([board]) or "")
    assert holder([board]) is None
    taken(board)


def test_leases_exclude_each_other_by_any_name(board: str) -> None:
    names = [f"{board}/{n}" for n in range(4)]
    with Lease(names[:2], "nightly"):
        with pytest.raises(BenchError, match=f"{names[1]}: in use by"):
            taken(*names[1:])
        taken(*names[2:])  # what it could not have was given back
        taken(*names[2:])


def test_waiting_ends_when_it_is_given_back(board: str) -> None:
    told: list[str] = []
    with Lease([board], "nightly") as first:
        threading.Timer(0.4, first.__exit__, (None, None, None)).start()
        with Lease([board], "mine", wait_s=30.0, note=told.append):
            assert len(told) == 1
            assert f"waiting for {board}, in use by" in told[0]


def test_a_holder_that_is_just_ending_is_not_said_again(
    board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["process 7", None, "process 7", "process 8", None]
    first = Lease([board], "nightly").__enter__()

    def named(boards: list[str]) -> str | None:
        if names:
            return names.pop(0)
        first.__exit__(None, None, None)
        return None

    monkeypatch.setattr(lease, "holder", named)
    said: list[str] = []
    with Lease([board], "mine", wait_s=60.0, note=said.append):
        users = [line.partition("in use by ")[2] for line in said]
    assert users == ["process 7", "process 8"]


def hold(board: str, what: str) -> Other:
    def work(say: Say) -> None:
        with Lease([board], what):
            say("held")
            time.sleep(600)

    other = Other(ANNA if os.geteuid() == 0 else os.getuid(), work)
    assert other.line() == "held"
    return other


@needs_root
@pytest.mark.parametrize("me", [ANNA, BEN, 0])
def test_users_exclude_each_other(board: str, me: int) -> None:
    def work(say: Say) -> None:
        try:
            taken(board)
        except BenchError as error:
            say(str(error))
        else:
            say("taken")

    with hold(board, "anna's job") as first:
        with Other(me, work) as other:
            said = other.line()
        assert f"in use by nobody, process {first.pid}: anna's job" in said
        first.kill()
        with Other(me, work) as other:
            assert other.line() == "taken", "the kernel has let go of it"


def test_one_of_a_process_that_is_gone_is_free_at_once(board: str) -> None:
    for _ in range(5):
        with hold(board, "killed job") as first:
            first.kill()
            taken(board)


def test_one_that_has_stopped_is_named_and_keeps_it(board: str) -> None:
    with hold(board, "stopped job") as first:
        os.kill(first.pid, signal.SIGSTOP)
        with pytest.raises(BenchError, match=rf"in use by .*process {first.pid}"):
            taken(board)


def test_of_many_that_want_it_at_once_one_gets_it(board: str) -> None:
    got: list[Lease] = []
    start = threading.Barrier(8)

    def take(number: int) -> None:
        start.wait()
        try:
            got.append(Lease([board], f"job {number}").__enter__())
        except BenchError:
            return

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    got[0].__exit__(None, None, None)


def test_what_a_holder_says_is_shown_as_text(board: str) -> None:
    with (
        Lease([board], "job\x1b[2J\u202e\nerror: none"),
        pytest.raises(BenchError, match="in use by") as told,
    ):
        taken(board)
    assert r"job\x1b[2J\u202e\nerror: none" in str(told.value)


@pytest.mark.parametrize("planted", ["link to a folder", "link to a file", "pipe", "file"])
def test_nothing_is_written_where_another_user_may_plant(planted: str, tmp_path: Path) -> None:
    """As root: what lies at the names of old, in the shared folder, is left as it was."""
    board = f"board-{uuid.uuid4()}"
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (victim / "file").write_text("theirs")
    (victim / "file").chmod(0o600)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    place = shared / "tinyfin-leases"
    if planted == "link to a folder":
        place.symlink_to(victim)
    else:
        place.mkdir()
        for name in (f"{board}.guard", f"{board}.lease"):
            if planted == "link to a file":
                (place / name).symlink_to(victim / "file")
            elif planted == "pipe":
                os.mkfifo(place / name)
            else:
                os.link(victim / "file", place / name)
    before = {path: path.lstat() for path in sorted(tmp_path.rglob("*"))}
    script = (
        f"from tinyfin.hil.rigs.lease import Lease\nwith Lease([{board!r}], 'x'): print('held')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(shared), "TINYFIN_LEASES": str(place)},
    )
    assert done.stdout == "held\n", done.stderr
    after = {path: path.lstat() for path in sorted(tmp_path.rglob("*"))}
    assert [(p, s.st_mode, s.st_uid, s.st_mtime_ns) for p, s in after.items()] == [
        (p, s.st_mode, s.st_uid, s.st_mtime_ns) for p, s in before.items()
    ]
    assert (victim / "file").read_text() == "theirs"


def test_a_board_has_the_same_name_however_it_is_found() -> None:
    def names(**port: str) -> set[str]:
        table = {"target": "stm32f405", "port": port, "flash": False}
        return set(lease_names(TargetSpec.model_validate(table), lambda: BUS))

    by_serial, by_socket = names(serial_number="066B"), names(location="1-1.1")
    assert by_serial & by_socket
    assert by_serial & set(names_at("/dev/ttyACM0", lambda: BUS))
    assert not by_serial & names(location="1-1.4")
    one, other = (names(serial_number="FT9", interface=which) for which in ("port A", "port B"))
    assert not one & other, "two boards at one adapter"
    gone = names(serial_number="unplugged")
    assert gone
    assert gone == names(serial_number="unplugged")


def test_what_needs_no_lease_and_what_needs_another_one() -> None:
    emulated = TargetSpec.model_validate({"target": "cortex-m4", "emulated": True})
    assert lease_names(emulated) == []
    assert lease_names(emulated.model_copy(update={"lease": "relay"})) == ["lease relay"]
    served = spec("socket://Bench-7:4001", lease="relay")
    assert lease_names(served) == ["lease relay", "socket://bench-7:4001"]
    assert names_at("tcp://bench-7:4001") == names_at("socket://BENCH-7:4001")
    assert names_at("socket://localhost:4001") == names_at("socket://127.0.0.1:4001")
    assert names_at("exec:./terminal") == []


def test_a_verb_leases_the_port_that_it_is_given(silent_url: str) -> None:
    with (
        Lease([silent_url], "a rig's job"),
        pytest.raises(BenchError, match=r"in use by .*a rig's job"),
        session.at_port(silent_url),
    ):
        pass


def test_a_playback_leases_the_target_of_its_rig(silent_url: str) -> None:
    table = {
        "deadlines": {"lease_s": 0},
        "targets": {"net": {"target": "host", "flash": False, "port": {"url": silent_url}}},
    }
    rig = from_table(table, Path("rig.toml"))
    with (
        Lease([silent_url], "a rig's job"),
        pytest.raises(BenchError, match=r"in use by .*a rig's job"),
        reached(rig, Path("models/payment/model.tfpack"), (), name="net"),
    ):
        pass
