# SPDX-License-Identifier: Apache-2.0
"""The terminal in a process: replay, repetition, order, refusals, reboots."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import sample
from tinyfin.errors import ProtocolError, TargetError
from tinyfin.hil.replay import replay
from tinyfin.hil.replay.chunks import by_terminal, chunks
from tinyfin.hil.replay.sender import Sender
from tinyfin.twin import Twin
from tinyfin.wire.client import Client, TargetRebooted
from tinyfin.wire.event_frames import EventsFrame, Outcome, field_types
from tinyfin.wire.frames import Deframer, encode_frame
from tinyfin.wire.links import Deadline, Link, LinkAround, ProcessLink
from tinyfin.wire.messages import Answer, Request, WireError, parse_error, parse_verdicts

pytestmark = pytest.mark.live


def small_frame(first_id: int = 1, count: int = 3, outcome: bool = True) -> bytes:
    frame = EventsFrame(field_types(sample.make_pack()), 1000, 64, 32, 1000)
    values = [500, 77, *[0] * 18]
    for i in range(count):
        end = Outcome(1000 + i, 0, 3, 0) if outcome else None
        assert frame.score(first_id + i, 1000 + i, 5000 + i, values, 0b111, end)
    return frame.payload()


def raw_answer(client: Client, frame: bytes) -> tuple[int, int, bytes]:
    client.link.write(frame)
    answer = client._receive(Deadline(5.0))
    assert answer is not None
    return answer


def test_thousands_of_events_are_equal_and_small(client: Client) -> None:
    tx = sample.make_transactions()
    result = replay(sample.make_pack(), tx, sample.make_stream(tx), client)
    result.check()
    facts = result.as_dict()
    print(
        f"{facts['verdicts']} transactions: {facts['bytes_up_per_transaction']} bytes up, "
        f"{facts['bytes_down_per_transaction']} down, {facts['transactions_per_second']}/s"
    )
    assert facts["verdicts"] == facts["transactions"] == len(tx) > 1000
    assert facts["events"] == len(sample.make_stream(tx))
    assert facts["mismatches"] == facts["lost"] == facts["retransmitted"] == 0
    assert facts["bytes_up_per_transaction"] <= 40
    assert facts["bytes_down_per_transaction"] <= 16
    assert {"features", "network_output", "state"} <= set(facts["compared"])


class Slow(LinkAround):
    """A terminal that is busy until it was asked twice, as one that boots; then it answers one
    request per read."""

    def __init__(self, inner: Link) -> None:
        super().__init__(inner)
        self.in_ring: list[int] = []
        """Tags of requests without an answer yet."""
        self.at_work: list[int] = []
        """How many there were whenever events were sent."""
        self._answers: list[bytes] = []
        self.busy = False

    def read(self, timeout_s: float) -> bytes:
        self.busy &= len(self.in_ring) < 2
        if self.busy:
            time.sleep(timeout_s)
            return b""
        if not self._answers:
            self._answers = [part + b"\0" for part in self.inner.read(timeout_s).split(b"\0")[:-1]]
        if not self._answers:
            return b""
        answer = self._answers.pop(0)
        for frame in Deframer().feed(answer):
            if frame.sequence in self.in_ring:
                self.in_ring.remove(frame.sequence)
        return answer

    def write(self, data: bytes) -> None:
        for frame in Deframer().feed(data):
            if frame.type == Request.EVENTS:
                self.at_work.append(len(self.in_ring))
            else:
                self.in_ring.append(frame.sequence)
        super().write(data)


class Late(LinkAround):
    """Before the answer to events comes that of a restart asked for earlier, which had as its tag
    the number that the events have now."""

    late = b""

    def read(self, timeout_s: float) -> bytes:
        if self.late:
            answer, self.late = self.late, b""
            return answer
        return self.inner.read(timeout_s)

    def write(self, data: bytes) -> None:
        for frame in Deframer().feed(data):
            if frame.type == Request.EVENTS:
                self.late = encode_frame(Answer.ACK, frame.sequence, b"\0")
        super().write(data)


def test_a_late_answer_to_a_restart_is_no_answer_to_events(program: Path) -> None:
    client = Client(Late(ProcessLink([str(program)])))
    try:
        client.connect()
        answer = client.ordered(Request.EVENTS, small_frame())
        assert len(parse_verdicts(answer, 3).verdicts) == 3
        assert client.counters.stray == 1
    finally:
        client.close()


@pytest.mark.parametrize("ask", ["greeting", "request"])
def test_nothing_is_sent_on_top_of_requests_in_the_ring(program: Path, ask: str) -> None:
    """A ring of 128 bytes would overrun: its credit is all that may be under way."""
    link = Slow(ProcessLink([str(program)]))
    client = Client(link, answer_timeout_s=0.5)
    try:
        link.busy = ask == "greeting"
        client.connect()
        if ask == "request":
            link.busy = True
            client.stats()
        client.ordered(Request.EVENTS, small_frame())
        assert link.at_work == [0]
    finally:
        client.close()


def test_warm_state_comes_over_the_wire(client: Client) -> None:
    tx = sample.make_transactions()
    split = int(sorted(tx.t_mono_s.tolist())[len(tx) // 2])
    early, late = tx.take(tx.t_mono_s < split), tx.take(tx.t_mono_s >= split)
    warmup = early, sample.make_stream(early)
    result = sample.replayed(client, tx=late, warmup=warmup, limit=300)
    result.check()
    assert result.verdicts == 300


def test_a_small_terminal_does_the_same() -> None:
    from tinyfin.hil.links.host_process import build_host_terminal

    small = "TFIN_WIRE_SMALL", "TFIN_WIRE_FRAME_BYTES=160"
    program = build_host_terminal(sample.make_pack(), cflags=("-O1",), defines=small)
    with sample.terminal(program) as client:
        result = sample.replayed(client, limit=200)
        result.check()
        assert result.verdicts == 200
        assert client.hello.frame_bytes == 160
        assert len(client.read_state()) == client.hello.state_bytes


def test_a_repeated_number_gets_the_stored_answer_and_touches_nothing(client: Client) -> None:
    sequence = client.hello.expected
    wire = encode_frame(Request.EVENTS, sequence, small_frame())
    first = raw_answer(client, wire)
    state = client.checkpoint()
    for _ in range(3):
        assert raw_answer(client, wire) == first
    assert client.checkpoint() == state
    assert client.stats()["scored"] == 3
    assert client.stats()["frames_repeated"] == 3
    assert len(parse_verdicts(first[2], 3).verdicts) == 3


def test_a_missing_number_is_asked_for_and_nothing_is_done(client: Client) -> None:
    before = client.checkpoint()
    wire = encode_frame(Request.EVENTS, (client.hello.expected + 1) & 0xFFFF, small_frame())
    frame_type, _, payload = raw_answer(client, wire)
    report = parse_error(payload)
    assert frame_type == Answer.ERROR
    assert report.code == WireError.SEQUENCE
    assert report.expected == client.hello.expected
    assert client.checkpoint() == before


def test_numbers_wrap(client: Client) -> None:
    client._sequence = 0xFFFE
    client.connect()
    for i in range(6):
        client.ordered(Request.EVENTS, small_frame(first_id=10 * i))
    assert client.checkpoint().expected == 4
    assert client.stats()["scored"] == 18


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", WireError.MALFORMED),
        (b"\0\1", WireError.MALFORMED),
        (small_frame()[:-1], WireError.MALFORMED),
        (small_frame() + b"\0", WireError.MALFORMED),
        (b"\x80" + small_frame()[1:], WireError.MALFORMED),
        (b"\0\1" + bytes(4) + b"\x82", WireError.MALFORMED),
        # an outcome "as advised" without its score
        (b"\0\1" + bytes(4) + b"\x62\1\x18", WireError.MALFORMED),
        # a field that the schema does not have
        (b"\0\1" + bytes(4) + b"\x18\0" + b"\x80\x80\x80\x80\x01", WireError.MALFORMED),
        (b"\0\x61" + bytes(4) + b"\x62\0" * 97, WireError.TOO_MANY),
    ],
)
def test_a_frame_that_breaks_a_rule_does_nothing(
    client: Client, payload: bytes, code: WireError
) -> None:
    before = client.checkpoint()
    wire = encode_frame(Request.EVENTS, client.hello.expected, payload)
    frame_type, _, answer = raw_answer(client, wire)
    assert frame_type == Answer.ERROR
    assert parse_error(answer).code == code
    assert client.checkpoint() == before


@pytest.mark.parametrize("frame_type", [0x00, 0x0D, 0x21, 0x7F, 0x82])
def test_an_unknown_type_is_refused_by_name(client: Client, frame_type: int) -> None:
    _, _, answer = raw_answer(client, encode_frame(frame_type, 5, b"abc"))
    assert parse_error(answer).code == WireError.UNKNOWN_TYPE


def test_outside_of_the_state_is_refused(client: Client) -> None:
    size = client.hello.state_bytes
    for offset, length in ((size, 1), (0, 60_000), (size + 1, 0)):
        where = offset.to_bytes(4, "little") + length.to_bytes(2, "little")
        _, _, answer = raw_answer(client, encode_frame(Request.STATE_READ, 1, where))
        assert parse_error(answer).code == WireError.RANGE
    beyond = b"\0" + b"\x80\x80\x80\x01" + b"x" * 10
    _, _, answer = raw_answer(
        client, encode_frame(Request.STATE_WRITE, client.hello.expected, beyond)
    )
    assert parse_error(answer).code == WireError.MALFORMED


def test_a_foreign_state_image_is_refused_by_name(client: Client) -> None:
    image = bytearray(client.read_state())
    image[20] ^= 1
    with pytest.raises(TargetError, match="state image"):
        client.write_state(bytes(image))


def test_infer_equals_the_twin(client: Client) -> None:
    import numpy as np

    twin = Twin(sample.make_pack())
    inputs = np.random.default_rng(3).integers(-128, 128, (20, twin.input_count)).astype(np.int8)
    outputs, raw = twin.infer(inputs)
    for i, row in enumerate(inputs):
        answer = client.infer(row.tobytes(), measure=True)
        assert answer.output == outputs[i].tobytes()
        assert answer.raw == raw[i]


def test_save_reboot_restore_in_mid_replay(client: Client) -> None:
    """The same bytes as never having stopped, at several places of a stream."""
    pack = sample.make_pack()
    tx = sample.make_transactions()
    chunk = next(by_terminal(tx, sample.make_stream(tx), 400))
    twin = Twin(pack)
    reference = twin.run(chunk.tx, chunk.stream)
    place = {int(row): i for i, row in enumerate(chunk.rows)}
    done = 0
    client.reset_state()
    for piece in chunks(chunk, 250):
        sender = Sender(piece, field_types(pack), client.hello, 1)
        for payload in client.pipeline(sender.frames()):
            sent = sender.sent.popleft()
            for row, verdict in zip(
                sent.scored, parse_verdicts(payload, len(sent.scored)).verdicts, strict=True
            ):
                where = place[int(piece.rows[row])]
                assert verdict.raw == reference.raw[where]
                assert verdict.score_q32 == reference.score_q32[where]
                done += 1
        saved = client.read_state()
        nonce = client.hello.boot_nonce
        client.reboot()
        assert client.connect().boot_nonce != nonce
        assert client.stats()["scored"] == 0
        client.write_state(saved)
        assert client.read_state() == saved
    assert done == 400
    assert client.checkpoint().state_digest == twin.state_digest(0)
    assert client.read_state() == twin.export_state(0)


def test_a_reboot_in_the_middle_is_named(client: Client) -> None:
    client.ordered(Request.EVENTS, small_frame())
    # behind the client's back, and its boot HELLO is lost as on a real line
    client.link.write(encode_frame(Request.REBOOT, 1, b""))
    frames = [(Request.EVENTS, small_frame())] * 100
    with pytest.raises(TargetRebooted, match="restarted"):
        list(client.pipeline(frames))


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda client: client.read_state(), b"\0\0\0\0"),  # no byte of it
        (lambda client: client.read_state(), b"\1\0\0\0" + bytes(64)),  # from elsewhere
        (lambda client: client.detail(0), b"\0\0\0\x08\0"),
        (lambda client: client.detail(0), b"\0\0\0\x02\0" + bytes(3)),
        (lambda client: client.detail(0), b"\2\0\0\x02\0" + bytes(2)),
    ],
)
def test_bytes_that_were_not_asked_for_are_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Client], bytes], answer: bytes
) -> None:
    """One that answers with nothing for ever would be asked for ever."""
    answers = iter([answer] * 100)
    monkeypatch.setattr(client, "request", lambda *_: next(answers))
    with pytest.raises(ProtocolError, match="other bytes than were asked for"):
        ask(client)


def test_the_answer_has_left_the_uart_before_the_restart(client: Client) -> None:
    """A UART holds two bytes that it was given and has not sent; a restart loses them."""
    client.link.write(encode_frame(Request.REBOOT, 7, b""))
    got, end = b"", Deadline(10.0)
    while len(frames := Deframer().feed(got)) < 2 and not end.passed:
        got += client.link.read(end.left())
    assert [frame.type for frame in frames] == [Answer.ACK, Answer.HELLO]
    # the answer, what pushes it out, and the delimiter before what a boot loader may have said
    answer = encode_frame(Answer.ACK, 7, b"\0")
    assert got.startswith(answer + b"\0\0" + b"\0")


def test_silence_ends_with_a_message() -> None:
    link = ProcessLink(["/bin/sleep", "30"])
    try:
        with pytest.raises(TargetError, match="not a byte came"):
            Client(link).connect(deadline_s=0.6)
    finally:
        link._process.kill()
        link.close()


def test_an_end_of_the_other_side_is_named(program: Path) -> None:
    client = Client(ProcessLink([str(program)]))
    client.connect()
    client.exit(3)
    with pytest.raises(TargetError, match="ended with code 3"):
        client.connect(deadline_s=5.0)
    client.close()
