# SPDX-License-Identifier: Apache-2.0
"""Every way in which a bench fails ends in time, by its own kind, and says what to do."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.hil.faulty_bench import SHORT, SMALL, Hook, Line, job, log_frame
from tests.support import sample
from tinyfin import paths
from tinyfin.errors import BenchError, MissingToolError
from tinyfin.hil.failures import ADVICE, Failure, FailureKind
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.hil.rigs.access import run_command
from tinyfin.hil.rigs.rigfile import TargetSpec
from tinyfin.hil.runs.results import PASSED, SKIPPED, TargetResult
from tinyfin.hil.runs.target import Job, TargetRun, run_target
from tinyfin.wire.frames import Deframer, encode_frame
from tinyfin.wire.messages import Answer, WireError

pytestmark = pytest.mark.live

WITHIN_S = 30.0
"""More than all deadlines of one failure together, ladder and a busy machine included."""


def failed(result: TargetResult, kind: str, case: str, words: str) -> str:
    """The failure is there, in the case where it came up, and nothing after it has passed."""
    names = [c.name for c in result.cases]
    at = names.index(case)
    before = [c.status for c in result.cases[:at]]
    assert before == [SKIPPED, PASSED, PASSED, PASSED][:at] or before == [PASSED] * at, result.cases
    found = result.cases[at].failure
    assert found is not None, result.cases
    assert found.kind == kind, found
    assert words in found.message
    assert not result.ok
    assert all(c.status != PASSED for c in result.cases[at:])
    return found.message


def through(line: Line, pack: Path, *suites: Any, **more: Any) -> TargetResult:
    begin = time.monotonic()
    try:
        return run_target(job(pack, line.url, *suites, **more), line.arm)
    finally:
        line.close()
        assert time.monotonic() - begin < WITHIN_S


def test_nothing_wrong_is_a_pass(program: Path, pack: Path) -> None:
    result = through(Line(program), pack)
    assert result.ok, result.cases
    assert result.cases[3].facts.verdicts == 120


def test_one_that_never_answers(pack: Path) -> None:
    result = through(Line(None), pack)
    message = failed(result, "boot", "boot", "not a byte came")
    assert "flash the tinyfin firmware" in message
    assert "resets tried: soft reset" in message
    assert [step.rung for step in result.ladder] == ["soft reset"]


def test_wrong_firmware_that_prints_text(pack: Path) -> None:
    result = through(Line(None, down=lambda line, _: b"login: \r\n\0"), pack)
    failed(result, "protocol", "boot", "but no frame; check the baud rate")


def test_wrong_firmware_of_another_protocol(pack: Path) -> None:
    refusal = bytes([WireError.VERSION_REFUSED, 0]) + bytes(6) + b"\0"
    answer = encode_frame(Answer.ERROR, 0, refusal)
    result = through(Line(None, down=lambda line, _: answer), pack)
    failed(result, "protocol", "boot", "refuses protocol version")


def test_another_pack(pack: Path) -> None:
    other = build_host_terminal(sample.make_pack(tweak=1), cflags=("-O1",))
    message = failed(through(Line(other), pack), "flash", "boot", "runs pack")
    assert "Flash it again" in message


def test_another_target(program: Path, pack: Path) -> None:
    line = Line(program)
    spec = TargetSpec.model_validate(
        {"target": "cortex-m4", "port": {"url": line.url}, "flash": False}
    )
    result = run_target(Job("board", spec, SHORT, pack, (), (SMALL,), lease_wait_s=0.0))
    line.close()
    failed(result, "flash", "boot", "a host answers, not a cortex-m4")


def test_the_line_is_closed(program: Path, pack: Path) -> None:
    def cut(line: Line, data: bytes) -> bytes | None:
        return None if line.now else data

    result = through(Line(program, down=cut), pack)
    failed(result, "link", "small", "closed the link")


def test_it_falls_silent(program: Path, pack: Path) -> None:
    def hush(line: Line, data: bytes) -> bytes:
        return b"" if line.now else data

    failed(through(Line(program, down=hush), pack), "link", "small", "no answer for 2.5 s")


def test_a_flood_of_logs_before_hello(pack: Path) -> None:
    flood = b"".join(log_frame(f"line {i}") for i in range(50))
    result = through(Line(None, down=lambda line, _: flood), pack)
    message = failed(result, "protocol", "boot", "lines of log came")
    assert "send fewer" in message
    assert len(result.logs) == 50, "the last lines are kept"


def test_a_flood_of_logs_in_the_middle(program: Path, pack: Path) -> None:
    flood = b"".join(log_frame(f"line {i}") for i in range(200))

    def drown(line: Line, data: bytes) -> bytes:
        return flood if line.now else data

    message = failed(through(Line(program, down=drown), pack), "protocol", "small", "lines of log")
    assert "fewer" in message


def test_one_that_answers_too_late(program: Path, pack: Path) -> None:
    """Each answer comes within the deadline for answers, all of them together do not."""
    suite = SMALL.model_copy(update={"deadline_s": 2.0})

    def dawdle(line: Line, data: bytes) -> bytes:
        if line.now and data:
            time.sleep(0.4)
        return data

    result = through(Line(program, down=dawdle), pack, suite.with_data(limit=600), suite)
    message = failed(result, "link", "small", "not done within 2 s")
    assert "events" in message
    assert "deadline_s" in message


def test_answers_that_come_after_their_wait(program: Path, pack: Path) -> None:
    """Later than a frame is sent again: repaired, counted, and equal."""
    seen: list[int] = []

    def late(line: Line, data: bytes) -> bytes:
        if data and line.now and not seen:
            seen.append(line.down_bytes)
            time.sleep(0.8)
        return data

    result = through(Line(program, down=late), pack)
    assert result.ok, result.cases
    assert result.cases[3].facts.retransmitted > 0


def restarts_once() -> Hook:
    """The terminal restarts in the middle of the suite, without being asked to."""
    seen: list[int] = []

    def restart(line: Line, data: bytes) -> bytes:
        if line.now and not seen:
            seen.append(line.down_bytes)
            line.restart()
        return data

    return restart


def test_it_restarts_by_itself(program: Path, pack: Path) -> None:
    result = through(Line(program, down=restarts_once()), pack)
    failed(result, "boot", "small", "restarted in the middle")


def test_a_restart_that_is_resumed_from_is_reported_too(program: Path, pack: Path) -> None:
    resume = SMALL.replay.model_copy(update={"on_reboot": "resume"})
    suite = SMALL.model_copy(update={"replay": resume})
    result = through(Line(program, down=restarts_once()), pack, suite)
    message = failed(result, "boot", "small", "restarted 1 times without a request")
    assert "every answer was right all the same" in message


def test_wrong_answers_are_the_only_mismatch(pack: Path) -> None:
    sabotage = Path(__file__).parent.parent / "wire" / "sabotage_feature.c"
    wrong = build_host_terminal(
        sample.make_pack(), cflags=("-O1", "-Wl,--wrap=tfin_score", str(sabotage))
    )
    suite = SMALL.with_data(limit=400)
    message = failed(through(Line(wrong), pack, suite), "mismatch", "small", "feature ")
    assert "differs" in message


def test_no_port(pack: Path, silent_url: str) -> None:
    result = run_target(job(pack, silent_url))
    failed(result, "bench", "boot", "nothing listens")


def test_a_board_in_use(program: Path, pack: Path) -> None:
    from tinyfin.hil.rigs.lease import Lease

    line = Line(program)
    with Lease([line.url], "another job"):
        result = run_target(job(pack, line.url))
    line.close()
    message = failed(result, "bench", "flash", "in use by")
    assert "another job" in message


def test_a_flash_tool_that_fails_and_one_that_hangs(pack: Path) -> None:
    for command, words in (
        (["sh", "-c", "echo no probe; exit 3"], "ended with code 3: no probe"),
        ("sleep 60", "did not end within 0.5 s"),
    ):
        deadlines = SHORT.model_copy(update={"flash_s": 0.5})
        run = TargetRun(Job("board", _board(command), deadlines, pack, (), (SMALL,)))
        way = run.reach
        built = type("Built", (), {"elf": "firmware.elf", "binary": "firmware.bin"})()
        begin = time.monotonic()
        with pytest.raises(Exception, match=words) as told:
            way._flash_by(command, None, built)  # type: ignore[attr-defined]  # of a board
        assert time.monotonic() - begin < 5
        assert getattr(told.value, "kind", None) == FailureKind.FLASH
        run.close()


def test_what_a_command_leaves_behind_ends_with_its_deadline(tmp_path: Path) -> None:
    """A probe's server in the background keeps the probe: the next flashing would find it busy."""
    noted = tmp_path / "pid"
    with pytest.raises(BenchError, match=r"did not end within 0.5 s"):
        run_command(f"sleep 60 & echo $! > {noted}", 0.5, "board: flash", BenchError)
    stat = Path("/proc", noted.read_text().strip(), "stat")
    end = time.monotonic() + 10
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end, "it runs on"
        time.sleep(0.02)


@pytest.mark.parametrize("command", [["no-such-flasher", "{bin}"], "no-such-flasher {bin}"])
def test_a_flash_tool_that_is_missing(command: object, pack: Path) -> None:
    run = TargetRun(Job("board", _board(command), SHORT, pack, (), (SMALL,)))
    built = type("Built", (), {"elf": "firmware.elf", "binary": "firmware.bin"})()
    with pytest.raises(MissingToolError, match=r"no-such-flasher.*install") as told:
        run.reach._flash_by(command, None, built)  # type: ignore[attr-defined]  # of a board
    run.close()
    assert Failure.of(told.value).exit_code == 6
    assert told.value.kind == FailureKind.BENCH


def _board(flash: object) -> TargetSpec:
    port = {"serial_number": "0"}
    return TargetSpec.model_validate({"target": "stm32f405", "port": port, "flash": flash})


def test_the_emulator_is_killed() -> None:
    pack = paths.project_dir() / "models" / "payment" / "model.tfpack"
    spec = TargetSpec.model_validate({"target": "cortex-m4", "emulated": True})
    deadlines = SHORT.model_copy(update={"boot_s": 20.0, "silence_s": 20.0, "answer_s": 5.0})
    killed: list[float] = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "begin" and event["case"] == "small" and not killed:
            killed.append(time.monotonic())
            os.kill(run.reach.pid, signal.SIGKILL)  # type: ignore[attr-defined]

    run = TargetRun(Job("m4", spec, deadlines, pack, (), (SMALL, SMALL)), kill)
    try:
        run.all()
    finally:
        run.close()
    assert time.monotonic() - killed[0] < WITHIN_S
    message = failed(run.result, "bench", "small", "the emulator ended with code -9")
    assert "run again" in message
    assert "waiting for connection" not in message, "what QEMU always says is no reason"
    assert "\n" not in message
    last = run.result.cases[-1]
    assert not last.reached
    assert last.failure is not None
    assert last.failure.message.startswith("not reached: ")


def test_every_kind_has_advice() -> None:
    assert set(ADVICE) == set(FailureKind)


def test_what_proves_nothing_does_not_pass(
    program: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default is failure: a suite that does nothing is found out."""
    monkeypatch.setattr(TargetRun, "suite", lambda self, case, suite: None)
    failed(through(Line(program), pack), "bench", "small", "without any proof")


def test_the_ladder_is_climbed_and_reported(program: Path, pack: Path, tmp_path: Path) -> None:
    """A terminal that answers only after its power was cut: every rung is in the result."""
    mark = tmp_path / "power"

    def hush(line: Line, data: bytes) -> bytes:
        return data if mark.exists() else b""

    reset = {"command": "true", "power": {"command": ["touch", str(mark)], "settle_s": 0}}
    result = through(Line(program, down=hush), pack, reset=reset)
    assert result.ok, result.cases
    assert [step.rung for step in result.ladder] == ["soft reset", "reset command", "power"]
    assert [step.outcome[:7] for step in result.ladder] == ["in vain", "in vain", "it answ"]
    assert result.cases[1].note == "answered only after: power"


def test_frames_are_what_the_fakes_say() -> None:
    (frame,) = Deframer().feed(log_frame("x"))
    assert frame.type == Answer.LOG
