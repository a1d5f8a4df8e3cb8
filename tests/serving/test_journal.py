# SPDX-License-Identifier: Apache-2.0
"""The journal of a service: what was appended comes back, whole, whatever happens to its end."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.served import opened as service_of
from tests.serving.served import passing_run
from tinyfin.errors import InputError
from tinyfin.schema import PAYMENT, Field
from tinyfin.serving.journal import Journal
from tinyfin.serving.terminal_events import (
    Score,
    TerminalEvent,
    TerminalNotice,
    TerminalOutcome,
    packed,
    unpacked,
)

PROGRAM = bytes(range(16))
PAYLOADS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def opened(folder: Path, first: int = 1) -> tuple[Journal, list[tuple[int, bytes]]]:
    journal = Journal(folder, PROGRAM, sync=False)
    return journal, list(journal.replay(first))


@settings(max_examples=60)
@given(parts=st.lists(PAYLOADS, min_size=1, max_size=4), cut=st.integers(0, 60))
def test_what_was_appended_comes_back(
    parts: list[list[bytes]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Over restarts; a cut end loses whole records of the last segment, from the end."""
    folder = tmp_path_factory.mktemp("journal")
    journal, found = opened(folder)
    assert found == []
    wanted: list[bytes] = []
    for payloads in parts:
        if payloads:
            assert journal.append(payloads) == len(wanted) + 1
        wanted += payloads
        journal, found = opened(folder)
        assert found == list(enumerate(wanted, 1))
        assert journal.next == len(wanted) + 1
    journal.append([b"last", b"of all"])
    last = max(folder.iterdir())
    data = last.read_bytes()
    last.write_bytes(data[: max(0, len(data) - cut)])
    journal, found = opened(folder)
    kept = [*wanted, b"last", b"of all"][: len(found)]
    assert found == list(enumerate(kept, 1))
    assert len(found) >= len(wanted)
    assert (len(found) == len(wanted) + 2) == (cut == 0)
    assert journal.append([b"new"]) == len(found) + 1
    assert opened(folder)[1] == [*found, (len(found) + 1, b"new")]


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    """In the last segment it is the end, elsewhere it is refused: nothing wrong comes back."""
    journal, _ = opened(tmp_path)
    journal.append([b"one", b"two", b"three"])
    path = max(tmp_path.iterdir())
    good = path.read_bytes()
    assert len(good) == 32 + 3 * 8 + 11
    wanted = list(enumerate([b"one", b"two", b"three"], 1))
    for last in (True, False):
        for at in range(len(good)):
            for other in tmp_path.iterdir():
                other.unlink()
            path.write_bytes(good[:at] + bytes([good[at] ^ 0x21]) + good[at + 1 :])
            if not last:
                head = struct.pack("<4sHH16sQ", b"TFJN", 1, 32, PROGRAM, 4)
                (tmp_path / f"journal-{4:020d}.tfjournal").write_bytes(head)
            try:
                found = opened(tmp_path)[1]
            except InputError:
                continue
            assert last
            assert at >= 32
            assert found == wanted[: len(found)]
            assert len(found) < 3


def test_a_record_counts_in_its_place_only(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append([b"aaaa", b"bbbb"])
    path = max(tmp_path.iterdir())
    data = path.read_bytes()
    path.write_bytes(data[:32] + data[44:56] + data[32:44])
    with pytest.raises(
        InputError, match="is damaged at byte 32, in event 1, and events may follow"
    ):
        opened(tmp_path)


def test_a_bit_in_the_middle_drops_nothing(tmp_path: Path) -> None:
    """Every bit of all records but the last: refused, and the file stays as it is. A damaged
    length, too, that reaches beyond the end."""
    journal, _ = opened(tmp_path)
    journal.append([bytes([i]) * 20 for i in range(4)])
    path = max(tmp_path.iterdir())
    good = path.read_bytes()
    for at in range(32, 32 + 3 * 28):
        for bit in range(8):
            damaged = bytearray(good)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(InputError, match="restore an older copy"):
                opened(tmp_path)
            assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    "tail", [b"\x09", b"\x09\0\0\0abcdxyz", bytes(99), b"\x09\0\0\0" + bytes(50)]
)
def test_a_cut_end_is_told(tmp_path: Path, tail: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    journal, _ = opened(tmp_path)
    journal.append([b"one"])
    path = max(tmp_path.iterdir())
    with path.open("ab") as file:
        file.write(tail)
    assert opened(tmp_path)[1] == [(1, b"one")]
    said = capsys.readouterr().err
    assert "event 2 at its end is not whole" in said
    assert f"{len(tail)} bytes, from byte 43 on, are removed" in said
    opened(tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "step", ["os.open", "os.fsync", "pathlib.Path.replace", "tinyfin.files.sync"]
)
def test_a_segment_that_cannot_begin_leaves_the_one_before(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = opened(tmp_path)
    journal.append([b"one"])
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(step, full)
        with pytest.raises(InputError, match="No space left on device; make space"):
            journal.rotate()
    assert sorted(tmp_path.iterdir()) == before
    assert journal.append([b"two"]) == 2
    assert opened(tmp_path)[1] == [(1, b"one"), (2, b"two")]


def test_what_was_taken_back_is_not_there(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append([b"one"])
    journal.append([b"two", b"three"])
    journal.take_back()
    with pytest.raises(OSError, match="closed"):
        journal.append([b"four"])
    assert opened(tmp_path)[1] == [(1, b"one")]


@pytest.mark.parametrize(
    "event",
    [
        Score("T1", 2**64 - 1, 1, 2, 3, (2**62, -1, *range(len(PAYMENT.fields) - 2))),
        TerminalOutcome("é" * 30, 7, 2**32 - 1, 4, -1, 2),
        TerminalNotice("x", 0, 5, 4, 2**64 - 1, True),
    ],
)
def test_events_come_back(event: TerminalEvent) -> None:
    again = unpacked(packed(event, PAYMENT))
    if isinstance(event, Score):
        hidden = {i for i, f in enumerate(PAYMENT.fields) if f.ram_only}
        values = (-1 if i in hidden else v for i, v in enumerate(event.values))
        event = event._replace(values=tuple(values))
    assert again == event


def test_a_field_in_ram_only_is_absent_whatever_stands_for_it() -> None:
    """An absent u64 may stand for more than an i64 holds."""
    hidden = Field("fingerprint", "u64", missing=2**64 - 1, ram_only=True)
    schema = dataclasses.replace(PAYMENT, fields=(hidden,))
    again = unpacked(packed(Score("T1", 1, 2, 3, 1, (77,)), schema))
    assert again == Score("T1", 1, 2, 3, 0, (-1,))


@settings(max_examples=100)
@given(payload=st.binary(max_size=60))
def test_no_bytes_of_a_record_do_harm(
    payload: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With a right checksum, too: they are an event, or a ValueError."""
    try:
        event = unpacked(payload)
    except ValueError:
        return
    assert isinstance(event, TerminalEvent)


def test_a_record_that_is_no_event_is_refused_by_number(tmp_path: Path) -> None:
    run = passing_run(tmp_path / "run")
    service = service_of(run, tmp_path / "state")
    assert service.journal is not None
    known = packed(TerminalOutcome("T1", 1, 9, 0, 0, 0), service.schema)
    service.journal.append([known, b"\x09\x00\x00"])
    with pytest.raises(InputError, match=r"event 2 of the journal cannot be done again \(kind 9\)"):
        service_of(run, tmp_path / "state")
