# SPDX-License-Identifier: Apache-2.0
"""Files made to harm, and a full disk: an error that names the file, never a traceback."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hil.faulty_bench import SMALL, Line, job
from tests.support.cli import tinyfin
from tinyfin import config
from tinyfin.cli.hil import text
from tinyfin.errors import InputError, ModelError, TinyfinError
from tinyfin.evaluation.gates import load_gate
from tinyfin.hil.links import transcript as wire
from tinyfin.hil.links.transcript import MAGIC, Kind, Record, Transcript, Writer
from tinyfin.hil.replay import memory_limit
from tinyfin.hil.replay.playback import playback, steps
from tinyfin.hil.rigs import rigfile
from tinyfin.hil.runs import suites, suites_data
from tinyfin.hil.runs.results import RigResult
from tinyfin.hil.runs.target import run_target
from tinyfin.quantization.repack import load_rules
from tinyfin.training.run_folder import RunFolder
from tinyfin.wire.client import Client
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.links import ProcessLink

pytestmark = pytest.mark.live

TOML = {
    "100,000 deep": b"a = " + b"[" * 100_000,
    "tables 4,000 deep": b"[" + b".".join([b"a"] * 4_000) + b"]",
    "a number of 5,000 digits": b"a = " + b"9" * 5000,
    "zeros": bytes(1000),
    "no UTF-8": b"a = '\xff'",
}


@pytest.mark.parametrize("read", [config.load, rigfile.load, suites.load, load_rules, load_gate])
@pytest.mark.parametrize("name", TOML)
def test_toml(name: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "hostile.toml"
    path.write_bytes(TOML[name])
    with pytest.raises(TinyfinError, match=r"hostile\.toml"):
        read(path)


@pytest.mark.parametrize("content", ["[" * 200_000, "[]", "{", "9" * 5000])
def test_json_of_a_run(content: str, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(ModelError, match=r"evaluation\.json"):
        RunFolder(tmp_path).read_json("evaluation.json")


ABOUT = MAGIC + b"{}\n"
TRANSCRIPTS = {
    "zeros": (bytes(100_000), "is no transcript"),
    "zeros, packed": (gzip.compress(bytes(100_000)), "is no transcript"),
    "a bomb of zeros": (gzip.compress(bytes(1 << 24)), "is no transcript"),
    "a bomb of notes": (
        gzip.compress(ABOUT + bytes([4, 0, 0]) * 1_000_000),
        "unpacks to more than 2 MiB",
    ),
    "many records": (gzip.compress(ABOUT + bytes([4, 0, 0]) * 50_000), "than 40,000 records"),
    "nested": (gzip.compress(MAGIC + b"[" * 200_000 + b"\n"), "first line is damaged"),
    "no object": (gzip.compress(MAGIC + b"[]\n"), "no JSON object"),
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_READ_BYTES", 2 << 20)
    monkeypatch.setattr(wire, "_READ_RECORDS", 40_000)
    data, words = TRANSCRIPTS[name]
    path = tmp_path / "hostile.transcript.gz"
    path.write_bytes(data)
    for verb in (["transcript", str(path)], ["playback", str(path), "--target", "host"]):
        done = tinyfin("hil", *verb, code=3)
        assert f"{path}: " in done.stderr
        assert words in done.stderr


@pytest.mark.parametrize(
    "rest", [bytes(1000), bytes([1]) + b"\x80" * 1_000_000, b"\xff", bytes([0, 0, 200, 200, 200])]
)
def test_a_damaged_one_is_read_up_to_there(rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(ABOUT + bytes([4, 7, 2]) + b"ok" + rest))
    found = wire.read(path)
    assert not found.whole
    assert found.records == [Record(Kind.NOTE, 7, b"ok")]
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert wire.read(path).records[:1] == found.records[:1]


RECORD = st.builds(
    Record,
    st.sampled_from(Kind),
    st.integers(0, 1 << 69),
    st.binary(max_size=80)
    | st.builds(
        encode_frame,
        st.sampled_from([*wire.m.Request, *wire.m.Answer]),
        st.integers(0, 9),
        st.binary(max_size=90),
    ),
)


@given(st.lists(RECORD, max_size=12))
def test_whatever_frames_it_holds(records: list[Record]) -> None:
    found = Transcript({}, records, True)
    for entry in wire.entries(found):
        assert "\n" not in wire.describe(entry)
    with contextlib.suppress(TinyfinError):
        list(steps(found))


def test_more_rows_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MB of Parquet with 150 million rows, made smaller together with the machine."""
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"event_id": pa.array([7] * 1_000_000)}), path)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(memory_limit, "_memory_bytes", lambda: 100_000_000)
    pack = Path("models/payment/model.tfpack").resolve()
    done = tinyfin(f"replay {pack} {path} --target host", code=3)
    assert f"{path}: 1,000,000 rows need about 0.3 GB, and this machine has 0.1" in done.stderr
    suite = SMALL.with_data(files=[path.name]).model_copy(update={"folder": tmp_path})
    with pytest.raises(InputError, match=r"bomb\.parquet: 1,000,000 rows"):
        next(suites_data.rounds(suite))
    memory_limit.require_memory([path.with_name("missing"), __file__])


def test_only_the_owner_may_read_a_transcript(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "t.gz"
    for plant in (lambda: path.symlink_to(victim), lambda: os.link(victim, path)):
        victim.write_text("theirs")
        path.unlink(missing_ok=True)
        plant()
        mask = os.umask(0)
        try:
            writer = Writer(path, {})
        finally:
            os.umask(mask)
        writer.close()
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert victim.read_text() == "theirs"
        assert wire.read(path).whole


def test_its_size_is_bounded_and_its_end_is_kept(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "t.gz", {}, most_bytes=10_000)
    for number in range(10_000):
        writer.put(Kind.DOWN, number.to_bytes(2, "big") + os.urandom(8))
    writer.close()
    assert (tmp_path / "t.gz").stat().st_size < 12_000
    found = wire.read(tmp_path / "t.gz")
    numbers = [int.from_bytes(r.data[:2], "big") for r in found.records if r.kind == Kind.DOWN]
    at = [r.kind for r in found.records].index(Kind.GAP)
    assert numbers[:at] == list(range(at))
    assert numbers[at:] == list(range(10_000 - len(numbers[at:]), 10_000))
    assert min(at, len(numbers) - at) > 100
    assert found.records[at].data == f"{10 * (10_000 - len(numbers)):,} bytes left out".encode()
    assert writer.stopped == ""


def test_one_with_a_gap_plays_back_equal(
    program: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Writer.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Writer.__init__.__kwdefaults__, "most_bytes", 20_000)
    line = Line(program)
    result = run_target(job(pack, line.url, SMALL, SMALL, SMALL, SMALL, folder=tmp_path))
    line.close()
    assert result.ok, result.cases
    found = wire.read(tmp_path / "board.transcript.gz")
    at = [r.kind for r in found.records].index(Kind.GAP)
    after = Transcript(found.about, found.records[at:], True)
    client = Client(ProcessLink([str(program)]))
    again = playback(found, client)
    client.close()
    assert again.ok, again
    behind = sum(step.request != 0 for step in steps(after))
    assert 0 < behind < again.sent


def test_a_full_disk_ends_the_transcript_and_not_the_run(
    program: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, mode: str) -> Any:
        os.close(descriptor)
        return open("/dev/full", mode, buffering=0)

    monkeypatch.setattr(wire, "os", SimpleNamespace(**{**vars(os), "fdopen": full}))
    line = Line(program)
    result = run_target(job(pack, line.url, folder=tmp_path))
    line.close()
    assert result.ok, result.cases
    path = tmp_path / "board.transcript.gz"
    assert result.transcript_stopped == (
        f"{path}: cannot be written: No space left on device; the rest is not recorded"
    )
    written = RigResult(rig="r", rig_file="r.toml", run="run", suites=[], targets=[result])
    assert result.transcript_stopped in text(written)
    assert result.transcript_stopped in json.dumps(written.as_dict(), default=str)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    writer = Writer(tmp_path / "file" / "t.gz", {})
    writer.put(Kind.UP, b"x")
    writer.close()
    assert "cannot be written: " in writer.stopped


def recorded(program: Path, pack: Path, folder: Path) -> Path:
    line = Line(program)
    result = run_target(job(pack, line.url, folder=folder))
    line.close()
    assert result.ok, result.cases
    return folder / "board.transcript.gz"


def test_a_truncated_transcript_is_named_by_both_verbs(
    program: Path, pack: Path, tmp_path: Path
) -> None:
    path = recorded(program, pack, tmp_path)
    data = path.read_bytes()
    whole = tinyfin(f"hil transcript {path}")
    assert whole.stderr == ""
    size = len(data) - 900
    path.write_bytes(data[:size])
    words = f"error: {path}: is truncated: it ends at byte {size:,}; "
    for more in ([], ["--last", "3"], ["--quiet"]):
        cut = tinyfin(f"hil transcript {path}", *more, code=3)
        assert words in cut.stderr
        assert cut.stdout
        assert whole.stdout.startswith(cut.stdout) or more == ["--last", "3"]
    facts = tinyfin(f"hil transcript {path} --json", code=3)
    assert json.loads(facts.stdout)["fault"] in facts.stderr
    again = tinyfin(f"hil playback {path} --port exec:{program}", code=3)
    assert ", 0 differ" in again.stdout
    assert words in again.stderr
    path.write_bytes(data)
    tinyfin(f"hil playback {path} --port exec:{program}")


def test_which_byte_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "t.gz"
    notes = [bytes([4, 0, 40]) + os.urandom(40) for _ in range(300)]
    data = gzip.compress(ABOUT + b"".join(notes))

    def fault(damaged: bytes) -> str:
        path.write_bytes(damaged)
        return wire.read(path).fault

    assert fault(data) == ""
    for size in (len(data) - 1, len(data) - 8, len(data) // 2):
        assert fault(data[:size]).startswith(f"is truncated: it ends at byte {size:,}; ")
    flipped = bytearray(data)
    flipped[-5] ^= 1  # of the checksum
    said = fault(bytes(flipped))
    assert said.startswith("is damaged at byte ")
    assert said.endswith("; 300 records before it are whole")
    assert len(data) - 8 <= int(said.split()[4].rstrip(";").replace(",", "")) < len(data)
    at = len(ABOUT) + 43 * 7
    unpacked = bytearray(gzip.decompress(data))
    unpacked[at] = 99
    assert fault(gzip.compress(unpacked)) == (
        f"is damaged: no record begins at byte {at:,} of what it unpacks to; 7 records before it "
        "are whole"
    )
    for size in (0, 1, 15, 30):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=f"is truncated: it ends at byte {size}, before its"):
            wire.read(path)
