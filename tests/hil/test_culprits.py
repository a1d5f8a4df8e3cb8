# SPDX-License-Identifier: Apache-2.0
"""A red result names whose fault it is: the rows of the table of symptoms in docs/hil.md."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest

from tests.hil.faulty_bench import SHORT, SMALL, Line, job
from tests.hil.test_failure_kinds import failed, through
from tests.support import sample
from tests.support.cli import tinyfin
from tinyfin import paths
from tinyfin.errors import InputError, LinkError, MismatchError
from tinyfin.hil.failures import ADVICE
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.hil.links.transcript import Record, Transcript, entries, read
from tinyfin.hil.replay.differences import fields
from tinyfin.hil.replay.playback import pack_ids, playback
from tinyfin.hil.rigs.rigfile import TargetSpec
from tinyfin.hil.runs import junit, suites
from tinyfin.hil.runs.results import RigResult
from tinyfin.hil.runs.target import Job, TargetRun, run_target
from tinyfin.pack.container import parse_pack
from tinyfin.pack.layouts import repack_pack
from tinyfin.wire.client import Client
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.links import ProcessLink
from tinyfin.wire.messages import Answer, Request, WireError
from tinyfin.wire.refusals import refused_pack

pytestmark = pytest.mark.live

PAYMENT = paths.project_dir() / "models" / "payment" / "model.tfpack"


def instead(line: Line, data: bytes, what: bytes) -> bytes:
    """From the middle of the suite on ``what``, all the time, and no answer any more."""
    return what if line.now else data


def test_garbage_in_the_middle(program: Path, pack: Path) -> None:
    rng = random.Random(1)
    line = Line(program, down=lambda line, data: instead(line, data, rng.randbytes(40)))
    message = failed(through(line, pack), "protocol", "small", "bytes that are no frame")
    assert "crash handler" in message
    assert "hangs" not in message


def test_text_in_the_middle(program: Path, pack: Path) -> None:
    line = Line(program, down=lambda line, data: instead(line, data, b"HardFault at 0x0\r\n"))
    failed(through(line, pack), "protocol", "small", "bytes that are no frame")


def test_a_flood_in_the_middle(program: Path, pack: Path) -> None:
    flood = encode_frame(Answer.ACK, 7, b"\0") * 20
    line = Line(program, down=lambda line, data: instead(line, data, flood))
    message = failed(through(line, pack), "protocol", "small", "none of them the answer")
    assert "hangs" not in message


def test_silence_after_half_an_answer(program: Path, pack: Path) -> None:
    """A few bytes and then nothing is a terminal that hangs, no other firmware."""
    left = [b"half of it"]

    def hush(line: Line, data: bytes) -> bytes:
        return (left.pop() if left else b"") if line.now else data

    message = failed(through(Line(program, down=hush), pack), "link", "small", "no answer for")
    assert "the terminal hangs" in message


def test_every_frame_damaged_on_its_way_there(program: Path, pack: Path) -> None:
    complaint = bytes([WireError.BAD_FRAME, 0]) + bytes(6) + b"\0"
    frame = encode_frame(Answer.ERROR, 0, complaint)
    line = Line(program, down=lambda line, data: instead(line, data, frame))
    message = failed(through(line, pack), "link", "small", "complaints of damaged frames")
    assert "check cable" in message


@pytest.mark.parametrize("suite", ["small", "hostile"])
def test_an_emulator_that_is_stopped(suite: str) -> None:
    spec = TargetSpec.model_validate(
        {"target": "cortex-m4", "emulated": True, "reset": {"power": True}}
    )
    deadlines = SHORT.model_copy(update={"boot_s": 20.0, "silence_s": 20.0, "answer_s": 5.0})
    wanted = SMALL if suite == "small" else suites.find(suite).with_data(limit=2000)
    stopped: list[int] = []

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "progress" and event["case"] == suite and not stopped:
            stopped.append(run.reach.pid)  # type: ignore[attr-defined]
            os.kill(stopped[0], signal.SIGSTOP)

    run = TargetRun(Job("m4", spec, deadlines, PAYMENT, (), (wanted,)), stop)
    try:
        run.all()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stopped[0], signal.SIGCONT)
        run.close()
    message = failed(run.result, "bench", suite, f"process {stopped[0]}, is stopped by a signal")
    assert "kill -CONT" in message
    assert "another program" not in message


def test_one_that_stops_after_its_line_was_cut(program: Path) -> None:
    """Old frames still come out of the line, then nothing: no other program talks there."""
    client = Client(ProcessLink([str(program)]), answer_timeout_s=0.2, deadline_s=1.5)
    client.connect()
    inner, old = client.link, [encode_frame(Answer.ACK, 9, b"\0")]

    class Hung:
        name, can_reset = inner.name, False

        def read(self, timeout_s: float) -> bytes:
            if old:
                return old.pop()
            time.sleep(timeout_s)
            return b""

        def write(self, data: bytes) -> None:
            pass

    client.link = Hung()  # type: ignore[assignment]
    with pytest.raises(LinkError, match=r"frames came at first, then nothing; the terminal hangs"):
        client.connect(1.0)
    inner.close()


@pytest.fixture(scope="module")
def wrong_kernel() -> Path:
    sabotage = Path(__file__).with_name("sabotage_kernel.c")
    return build_host_terminal(
        PAYMENT.read_bytes(), cflags=("-O1", "-Wl,--wrap=tfin_infer", str(sabotage))
    )


def test_a_wrong_kernel(wrong_kernel: Path) -> None:
    line = Line(wrong_kernel)
    result = through(line, PAYMENT)
    message = failed(result, "mismatch", "boot", "a kernel of the network is wrong")
    assert "TFIN_E_GOLDEN" in message
    assert "cable" not in message + ADVICE[result.cases[1].failure.kind]  # type: ignore[union-attr]
    whole = RigResult(rig="r", rig_file="r.toml", run="run", suites=[], targets=[result])
    assert whole.exit_code == 4
    assert b'<failure type="mismatch"' in junit.document(whole)


@pytest.mark.parametrize("verb", ["replay", "hil list"])
def test_a_wrong_kernel_as_every_verb_says_it(
    verb: str, wrong_kernel: Path, tmp_path: Path
) -> None:
    line = Line(wrong_kernel)
    words = ["replay", str(PAYMENT), str(paths.project_dir() / "models"), "--port", line.url]
    if verb == "hil list":
        (tmp_path / "rig.toml").write_text(
            f'[targets.a]\ntarget = "host"\nport = {{ url = "{line.url}" }}\n'
        )
        words = ["hil", "list", "--rig", str(tmp_path / "rig.toml"), "--json"]
    else:
        data = tmp_path / "data.parquet"
        tinyfin(f"simulate --terminals 1 --days 4 --out {data}")
        words[2] = str(data)
    done = tinyfin(*words, code=None)
    line.close()
    assert "a kernel of the network is wrong" in done.output, done
    assert done.exit_code == (5 if verb == "hil list" else 4)
    if verb == "hil list":
        assert json.loads(done.stdout)["targets"][0]["failure"] == "mismatch"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (-22, "mismatch", "a kernel of the network is wrong"),
        (-19, "flash", "built for another network"),
        (-10, "flash", "trusts other keys"),
        (-12, "flash", "only newer packs"),
        (-8, "flash", "build and flash it again"),
    ],
)
def test_why_a_pack_is_refused(error: int, kind: str, words: str) -> None:
    made = refused_pack("board", error)
    assert made.kind == kind
    assert words in str(made)
    assert isinstance(made, MismatchError) == (error == -22)


def test_a_red_case_does_not_begin_with_what_a_green_one_proves(
    pack: Path, silent_url: str
) -> None:
    suite = suites.find("parity").model_copy(update={"name": "small"})
    result = run_target(job(pack, silent_url, suite))
    root = xml.fromstring(
        junit.document(
            RigResult(rig="r", rig_file="r.toml", run="run", suites=[], targets=[result])
        )
    )
    (out,) = (
        case.findtext("system-out") for case in root.iter("testcase") if case.get("name") == "small"
    )
    assert out is not None
    assert out.startswith("to be proven: Every verdict")


def wrong_feature() -> Path:
    """Firmware of the same pack that computes one feature of some events wrong."""
    sabotage = Path(__file__).parent.parent / "wire" / "sabotage_feature.c"
    return build_host_terminal(
        sample.make_pack(), cflags=("-O1", "-Wl,--wrap=tfin_score", str(sabotage))
    )


def test_a_playback_of_another_pack_compares_no_answers(
    program: Path, pack: Path, tmp_path: Path
) -> None:
    line = Line(program)
    assert run_target(job(pack, line.url, folder=tmp_path)).ok
    line.close()
    path = tmp_path / "board.transcript.gz"
    recorded, others = sample.make_pack(), sample.make_pack(tweak=1)
    (tmp_path / "other.tfpack").write_bytes(others)
    for more in (["--run", str(tmp_path / "other.tfpack")], ["--port", f"exec:{other_program()}"]):
        done = tinyfin(f"hil playback {path}", *more, code=3)
        assert f"{path}: the transcript was recorded with pack {pack_id(recorded)}" in done.stderr
        assert f"runs pack {pack_id(others)}" in done.stderr
        assert "compared" not in done.stdout
    sent: list[int] = []
    client = Client(ProcessLink([str(other_program())]))
    client.connect()
    client.pipeline = lambda frames: sent.append(1) or iter(())  # type: ignore
    with pytest.raises(InputError, match="recorded with pack"):
        playback(read(path), client)
    client.close()
    assert not sent, "it was refused before anything was sent"


def other_program() -> Path:
    return build_host_terminal(sample.make_pack(tweak=1), cflags=("-O1",))


def pack_id(pack: bytes) -> str:
    return parse_pack(pack).pack_id.hex()


def test_a_playback_of_the_same_model_in_another_layout_is_compared(
    program: Path, pack: Path, tmp_path: Path
) -> None:
    """A board runs its own layout: another pack id, the same answers."""
    line = Line(program)
    assert run_target(job(pack, line.url, folder=tmp_path)).ok
    line.close()
    found = read(tmp_path / "board.transcript.gz")
    here, there = (
        parse_pack(one).pack_id
        for one in (sample.make_pack(), repack_pack(sample.make_pack(), "columns"))
    )
    records = [
        Record(
            e.kind,
            e.at_us,
            encode_frame(e.frame.type, e.frame.sequence, e.frame.payload.replace(here, there)),
        )
        for e in entries(found)
        if e.frame is not None
    ]
    foreign = Transcript(found.about, records, True)
    packs = pack_ids(pack)
    assert {here.hex(), there.hex()} <= set(packs)
    client = Client(ProcessLink([str(program)]))
    with pytest.raises(InputError, match="answers of different packs"):
        playback(foreign, client)
    assert playback(foreign, client, packs=packs).ok
    client.close()


def test_a_playback_names_fields(program: Path, pack: Path, tmp_path: Path) -> None:
    line = Line(program)
    assert run_target(job(pack, line.url, folder=tmp_path)).ok
    line.close()
    path = tmp_path / "board.transcript.gz"
    other = wrong_feature()
    done = tinyfin(f"hil playback {path} --port exec:{other}", code=4)
    assert re.search(r"first difference: the answer to \w+ at [\d.]+ s, request \d+\n", done.output)
    rows = re.findall(r"^  (.+): expected (.+), found (.+)$", done.output, re.M)
    assert rows
    for _, expected, found in rows:
        assert expected != found
    client = Client(ProcessLink([str(other)]))
    first = playback(read(path), client).first
    client.close()
    assert first is not None
    assert {"field", "expected", "found"} == set(first["differences"][0])


def test_fields_of_answers() -> None:
    first = b"\x10" + (5).to_bytes(4, "little") + b"\x04"
    failed_one = bytes([0x20, 3])
    last = b"\x06" + (6).to_bytes(4, "little") + b"\x03" + b"\x81\x01" + b"\x09"
    answer = b"\x02\x04" + bytes(4) + first + failed_one + last + bytes([3, 1])
    found = fields(Request.EVENTS, answer)
    assert found["events taken"] == 4
    assert found["verdict 0, raw"] == 2
    assert found["verdict 1, engine error"] == -2
    assert (found["verdict 2, raw"], found["verdict 2, flags"]) == (-2, 129)
    assert (found["verdict 2, action"], found["verdict 2, reasons"]) == (2, [9])
    assert found["event 3, engine error"] == -1
    assert fields(Request.STATE_READ, b"\x40\0\0\0\x07") == {"byte of the state image 64": 7}
    detail = bytes([0]) + (4).to_bytes(2, "little") + (6).to_bytes(2, "little") + b"\xff\xff"
    assert fields(Request.DETAIL_READ, detail) == {"bytes": 6, "feature 2": -1}
    assert fields(Request.STATE_RESET, b"\x03") == {"engine error": -2}
    assert fields(Request.CHECKPOINT_REQUEST, b"\1") == {"bytes": "01"}


def test_every_row_of_the_table_of_symptoms_is_a_test() -> None:
    text = (paths.project_dir() / "docs" / "hil.md").read_text(encoding="utf-8")
    table = text.partition("## From symptom to verdict")[2].partition("\n## ")[0]
    named = re.findall(r"`(test_\w+)`", table)
    tests = "".join(
        (Path(__file__).parent / name).read_text(encoding="utf-8")
        for name in ("test_culprits.py", "test_failure_kinds.py")
    )
    assert len(named) >= 15
    for name in named:
        assert f"def {name}(" in tests, name
