# SPDX-License-Identifier: Apache-2.0
"""Exactly once over a line that flips, drops, repeats, delays, and restarts the terminal."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import sample
from tests.wire.test_terminal import small_frame
from tinyfin.errors import BenchError, ConfigError, LinkError, TargetError, TinyfinError
from tinyfin.hil.links.faults import PRESETS, SHARES, Chaos, ChaosLink
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.hil.links.session import emulated
from tinyfin.hil.replay import ReplayResult, replay
from tinyfin.hil.replay import replayer as engine
from tinyfin.targets import build as building
from tinyfin.targets import catalogue
from tinyfin.wire.client import Client, TargetRebooted
from tinyfin.wire.frames import Deframer, encode_frame
from tinyfin.wire.links import LinkLost, ProcessLink
from tinyfin.wire.messages import Request

pytestmark = pytest.mark.live

HERE = Path(__file__).parent


def run(program: Path, chaos: str | None, limit: int = 900, **options: Any) -> ReplayResult:
    with sample.terminal(program, deadline_s=10.0) as client:
        return sample.replayed(client, limit=limit, chaos=chaos, on_reboot="resume", **options)


@pytest.fixture(scope="module")
def calm(program: Path) -> ReplayResult:
    result = run(program, None)
    result.check()
    assert not result.repaired.any
    return result


def assert_same(result: ReplayResult, calm: ReplayResult) -> None:
    result.check()
    assert result.lost == result.doubled == result.mismatches == result.unexplained_reboots == 0
    assert result.state_digest == calm.state_digest
    for name in ("row", "score_q32", "raw", "action", "flags"):
        assert getattr(result, name).tolist() == getattr(calm, name).tolist()


def test_a_hostile_line_changes_no_byte(program: Path, calm: ReplayResult) -> None:
    result = run(program, f"{PRESETS['hostile']},reboot=1/600,seed=11")
    assert_same(result, calm)
    assert sum(result.faults.values()) > 40
    assert result.faults["reboot"] >= 2
    assert result.repaired.reboots >= 1
    assert result.repaired.events_again > 0
    assert result.repaired.frames_resent > 20
    assert result.as_dict()["repaired"]["complaints"] > 0


@pytest.mark.parametrize("kind", [*SHARES, "reboot"])
def test_every_kind_of_fault_is_repaired(kind: str, program: Path, calm: ReplayResult) -> None:
    rate = {"reboot": "1/300", "disconnect": "1/3000"}.get(kind, "1/500")
    result = run(program, f"{kind}={rate},seed=3", checkpoint_events=256)
    assert_same(result, calm)
    assert set(result.faults) == {kind}
    assert result.faults[kind] >= 3


def test_an_emulated_target_under_fire(tmp_path: Path) -> None:
    pack = tmp_path / "model.tfpack"
    pack.write_bytes(sample.make_pack())
    target = catalogue.get("cortex-m4")
    image = building.build(target, pack=pack)
    how = {"limit": 200, "target": "cortex-m4", "on_reboot": "resume", "checkpoint_events": 256}
    results = []
    for chaos in (None, "hostile,disconnect=1/4000,reboot=1/300,seed=5"):
        with emulated(target, image.elf, icount=False) as session:
            results.append(sample.replayed(session.client, chaos=chaos, **how))
    assert_same(results[1], results[0])
    assert results[1].repaired.reboots >= 1
    assert results[1].repaired.reconnects >= 1


# ---------------------------------------------------------------------------- what must fail


def fails(make: Callable[[], ReplayResult]) -> bool:
    try:
        return not make().ok
    except TinyfinError:
        return True


def sabotaged(source: str, *wraps: str) -> Path:
    flags = [f"-Wl,--wrap={name}" for name in wraps]
    return build_host_terminal(sample.make_pack(), cflags=("-O1", *flags, str(HERE / source)))


def test_without_deduplication_events_count_twice() -> None:
    program = sabotaged("sabotage_repeats.c", "tfin_deframe", "tfin_frame_send")
    run(program, None, limit=100).check()  # on a clean line it would not be noticed
    result = run(program, "fault=1/1000,seed=3")
    assert not result.ok
    assert result.mismatches


def test_restarts_with_several_checkpoints_under_way(program: Path, calm: ReplayResult) -> None:
    result = run(program, "reboot=1/120,drop=1/4000,seed=5", checkpoint_events=24)
    assert_same(result, calm)
    assert result.checkpoints > 50
    assert result.repaired.reboots >= 5


def test_without_a_crc_in_the_terminal_damage_is_believed() -> None:
    program = sabotaged("sabotage_crc.c", "tfin_deframe")
    run(program, None, limit=100).check()
    assert fails(lambda: run(program, "flip=1/500,seed=3"))


def test_without_a_crc_in_the_host_damage_is_believed(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyfin.wire import cobs
    from tinyfin.wire.frames import Frame

    def believing(self: Deframer, stretch: bytes) -> Frame | None:
        body = cobs.decode(stretch)
        if body is None or len(body) < 7:
            return None
        return Frame(body[0], int.from_bytes(body[1:3], "little"), body[3:-4])

    monkeypatch.setattr(Deframer, "_frame", believing)
    run(program, None, limit=100).check()
    assert fails(lambda: run(program, "flip=1/200,seed=3"))


def test_a_resume_that_restores_nothing_is_found(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(self: Any, piece: Any) -> Any:
        return self.client.state_requests(None)

    monkeypatch.setattr(engine._Run, "_state_requests", forgetful)
    run(program, None, limit=100).check()
    assert not run(program, "reboot=1/600,seed=3", checkpoint_events=256).ok


def test_a_restart_fails_unless_it_may_be_resumed(program: Path) -> None:
    tx = sample.make_transactions()
    link = ChaosLink(ProcessLink([str(program)]), Chaos.parse("reboot=1/200,seed=2"))

    class Counting:
        """As the replay does: says to the line how many events are coming."""

        def __getattr__(self, name: str) -> Any:
            return getattr(link, name)

        def write(self, data: bytes) -> None:
            link.count(60)
            link.write(data)

    client = Client(Counting())
    try:
        with pytest.raises(TargetRebooted, match="restarted in the middle"):
            replay(sample.make_pack(), tx, sample.make_stream(tx), client)
    finally:
        client.close()
    with pytest.raises(ConfigError, match="on-reboot resume"):
        replay(sample.make_pack(), tx, sample.make_stream(tx), client, chaos="hostile")


# ------------------------------------------------------------------- sessions, links and doubts


def test_an_old_hello_is_no_restart(client: Client) -> None:
    """A line that repeats the boot HELLO, or a complaint of another time, is not believed."""
    inner = client.link
    old = encode_frame(0x81, 0, bytes(86) + b"\x04host\x07unnamed")

    class Repeating:
        name, can_reset = "repeating", True
        left = 3

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def read(self, timeout_s: float) -> bytes:
            data = inner.read(timeout_s)
            if data and self.left:
                self.left -= 1
                return old + data
            return data

    client.link = Repeating()
    for i in range(5):
        client.ordered(Request.EVENTS, small_frame(first_id=10 * i))
    assert client.stats()["scored"] == 15


def test_a_late_copy_of_an_ended_session_changes_nothing(client: Client) -> None:
    greeting = encode_frame(Request.HELLO_REQUEST, 1, client._greeting)
    events = encode_frame(Request.EVENTS, client.hello.expected, small_frame())
    client.ordered(Request.EVENTS, small_frame())
    client.connect()
    client.link.write(greeting + events)
    assert client.stats()["scored"] == 3
    client.ordered(Request.EVENTS, small_frame(first_id=50))
    assert client.stats()["scored"] == 6


def send(client: Client) -> None:
    client.connect()
    for i in range(100):
        client.ordered(Request.EVENTS, small_frame(first_id=10 * i))


def test_a_lost_link_ends_a_session_that_must_not_reconnect(program: Path) -> None:
    link = ChaosLink(ProcessLink([str(program)]), Chaos.parse("disconnect=1/500,seed=1"))
    client = Client(link)
    try:
        with pytest.raises(LinkError, match="cut"):
            send(client)
    finally:
        client.close()


def test_a_link_without_reset_says_so(tmp_path: Path) -> None:
    import os

    from tinyfin.wire.serial_link import SerialLink

    master, slave = os.openpty()
    link = SerialLink(os.ttyname(slave))
    assert not link.can_reset
    with pytest.raises(BenchError, match="no way to reset"):
        link.reset()
    link.reopen(1.0)
    os.write(master, b"x")
    assert link.read(1.0) == b"x"
    link.close()
    with pytest.raises(LinkLost):
        link.read(0.1)


# ------------------------------------------------------------------------------------- the spec


def test_a_spec_is_read_and_written() -> None:
    chaos = Chaos.parse("flip=1e-4, drop=1/20000,reboot=1/5000,delay_ms=5,delay=1e-5,seed=7")
    assert (chaos.flip, chaos.drop, chaos.reboot, chaos.seed) == (1e-4, 5e-5, 2e-4, 7)
    assert Chaos.parse(str(chaos)) == chaos
    hostile = Chaos.parse("seed=9,hostile,delay=0")
    assert hostile.seed == 9
    assert hostile.delay == 0
    assert Chaos.parse("hostile").per_byte == pytest.approx(1e-3)
    assert sum(SHARES.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("flop=1", "flip"),
        ("flip", "not known"),
        ("flip=2", "between 0 and 1"),
        ("drop=x", "between 0 and 1"),
        ("drop=1/0", "between"),
        ("fault=0.9", "no frame whole"),
    ],
)
def test_a_wrong_spec_is_refused_by_name(spec: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Chaos.parse(spec)


class Echo:
    """Gives back what is written, in pieces."""

    name, can_reset = "echo", False

    def __init__(self, sizes: random.Random) -> None:
        self.sizes, self.data = sizes, b""

    def read(self, timeout_s: float) -> bytes:
        size = self.sizes.randint(1, 400)
        piece, self.data = self.data[:size], self.data[size:]
        return piece

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None: ...
    def reopen(self, timeout_s: float) -> None: ...
    def reset(self) -> None:
        raise TargetError("none")


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_faults_depend_on_the_seed_alone(seed: int, pieces: int) -> None:
    def through(reads: int) -> tuple[bytes, dict[str, int]]:
        spec = f"flip=1/100,drop=1/100,duplicate=1/400,insert=1/100,seed={seed}"
        link = ChaosLink(Echo(random.Random(reads)), Chaos.parse(spec))
        link.write(bytes(range(256)) * 8)
        out = b""
        while (data := link.read(0.0)) or link.inner.data:  # type: ignore[attr-defined]
            out += data
        return out, link.counts

    assert through(pieces) == through(pieces + 1)


@pytest.mark.parametrize("seed", range(8))
def test_a_line_that_was_asked_to_be_quiet_drops_nothing(seed: int) -> None:
    """Not even the rest of what it was dropping when it was asked."""
    echo = Echo(random.Random(1))
    link = ChaosLink(echo, Chaos.parse(f"drop=1/10,seed={seed}"))
    link.write(bytes(9))
    while "drop" not in link.counts:
        link.write(bytes(1))
    link.quiet()
    echo.data = b""
    link.write(b"whole again")
    assert echo.data == b"whole again"
