# SPDX-License-Identifier: Apache-2.0
"""What the host makes of the answers of a terminal with slots; the answers are made up."""

from __future__ import annotations

import struct
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tinyfin.cli.slots import as_dict, text
from tinyfin.errors import ProtocolError, TargetError
from tinyfin.wire import slot_frames
from tinyfin.wire.channel import NotOffered
from tinyfin.wire.client import Client
from tinyfin.wire.messages import Capability, Request
from tinyfin.wire.slot_frames import Command, Phase, Result, StateFound, StateLog

PACK = bytes(256)


def slot_info(
    phase: int = Phase.NONE, reason: int = 0, sequence: int = 10, found: int = 2
) -> bytes:
    head = struct.pack("<BBBBHIII", 1, 2, found, 4, 1, 4096, 65536, 0)
    other = 3 if phase == Phase.NONE else 0
    record = struct.pack("<BBBBIIIH", 1, 2 | other << 2 | phase << 4, 0, reason, sequence, 0, 0, 0)
    tags_and_crc = bytes(14)
    return head + record + tags_and_crc


def status(result: int, phase: int = Phase.NONE, offset: int = 0) -> bytes:
    return bytes([result, 0, phase]) + bytes([offset % 128 | 128, offset // 128])


class Scripted:
    """Answers each request with the next of its answers, the last one again and again."""

    def __init__(self, **answers: list[bytes]) -> None:
        self.answers = answers
        self.link = SimpleNamespace(name="scripted")
        self.hello = SimpleNamespace(capabilities=Capability.INSTALL)
        self.frame_bytes, self.deadline_s = 272, 1.0

    def request(self, request: int, answer: int, payload: bytes = b"", **_: Any) -> bytes:
        left = self.answers[Request(request).name]
        return left.pop(0) if len(left) > 1 else left[0]


def scripted(**answers: list[bytes]) -> Client:
    return cast("Client", Scripted(**answers))


def loaded(*end: bytes) -> Client:
    """A terminal that has all data, and answers PACK_END with this."""
    return scripted(
        SLOT_INFO_REQUEST=[slot_info(), slot_info(Phase.STAGED)],
        PACK_BEGIN=[status(Result.OK, Phase.LOADING, len(PACK))],
        PACK_END=list(end),
    )


def test_staged_also_when_the_answer_was_lost_and_the_request_repeated() -> None:
    for end in (status(Result.OK, Phase.STAGED), status(Result.PHASE, Phase.STAGED)):
        assert slot_frames.install(loaded(end), PACK).phase == Phase.STAGED


def test_a_pack_that_the_journal_did_not_take_is_not_staged() -> None:
    with pytest.raises(TargetError, match="its flash does not take"):
        slot_frames.install(loaded(status(Result.FLASH, Phase.STAGED)), PACK)


@pytest.mark.parametrize(
    ("which", "after"),
    [
        (Command.ACTIVATE, slot_info(Phase.TRIAL, sequence=12)),
        (Command.CONFIRM, slot_info(reason=6, sequence=12)),
        (Command.REVERT, slot_info(reason=3, sequence=12)),
        (Command.ABORT, slot_info(reason=2, sequence=12)),
    ],
)
def test_a_repeated_command_is_done_when_the_first_one_did_it(which: Command, after: bytes) -> None:
    refused = [status(Result.PHASE, Phase.NONE)]
    client = scripted(SLOT_INFO_REQUEST=[slot_info(), after], SLOT_COMMAND=refused)
    slot_frames.command(client, which)
    other = slot_info(reason=5, sequence=12)  # something else was written meanwhile
    client = scripted(SLOT_INFO_REQUEST=[slot_info(), other], SLOT_COMMAND=refused)
    with pytest.raises(TargetError, match=r"cannot do that now \(phase NONE\)"):
        slot_frames.command(client, which)


def test_a_release_says_which_command_to_type() -> None:
    client = scripted(SLOT_INFO_REQUEST=[slot_info()])
    answer = client.request

    def request(request: int, *rest: Any, **more: Any) -> bytes:
        if request == Request.SLOT_COMMAND:
            raise NotOffered("the terminal does not offer this")
        return answer(request, *rest, **more)

    client.request = request  # type: ignore[method-assign]
    with pytest.raises(NotOffered):
        slot_frames.command(client, Command.ACTIVATE)
    client.hello.capabilities = Capability.INSTALL | Capability.COMMAND  # type: ignore[misc]
    with pytest.raises(TargetError, match="`tinyfin command activate PACK --key FILE`"):
        slot_frames.command(client, Command.ACTIVATE)


def test_a_trial_that_waits_for_a_restart_is_told_from_one_that_runs() -> None:
    waits = slot_frames.info(scripted(SLOT_INFO_REQUEST=[slot_info(Phase.TRIAL)]))
    assert "in trial from the next start on" in text(waits)
    runs = replace(waits, running=waits.other)
    assert "next start" not in text(runs)


def test_a_state_log_is_told_from_none() -> None:
    kept = slot_info() + struct.pack("<BIHH", 0x80 | StateFound.FOUND, 7, 12, 3)
    log = StateLog(StateFound.FOUND, True, images=7, events=12, restored=3)
    slots = slot_frames.info(scripted(SLOT_INFO_REQUEST=[kept]))
    assert slots.state_log == log
    assert "state: image 7 and 12 events since, 3 of them restored" in text(slots)
    assert as_dict(slots)["state_log"] == {**asdict(log), "found": "found"}
    slots = slot_frames.info(scripted(SLOT_INFO_REQUEST=[slot_info()]))
    assert slots.state_log is None
    assert "state" not in text(slots)
    worn = slot_info() + struct.pack("<BIHH", StateFound.BLANK, 0, 0, 0)
    assert "not kept" in text(slot_frames.info(scripted(SLOT_INFO_REQUEST=[worn])))


@pytest.mark.parametrize("answer", [slot_info(phase=6), slot_info(found=9), slot_info(reason=9)])
def test_an_unknown_number_in_slot_info_is_an_error_of_the_terminal(answer: bytes) -> None:
    with pytest.raises(ProtocolError, match="does not know"):
        slot_frames.info(scripted(SLOT_INFO_REQUEST=[answer]))


def test_an_unknown_result_is_an_error_of_the_terminal() -> None:
    client = scripted(SLOT_INFO_REQUEST=[slot_info()], PACK_BEGIN=[status(99)])
    with pytest.raises(ProtocolError, match="result 99"):
        slot_frames.install(client, PACK)
