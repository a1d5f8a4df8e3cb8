# SPDX-License-Identifier: Apache-2.0
"""A whole run: targets in parallel, results in files, suites that bite, playback, the plugin."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from xml.etree import ElementTree as xml

import numpy as np
import pytest
from junitparser import Error as Error_
from junitparser import Failure as Failure_
from junitparser import JUnitXml, TestSuite
from junitparser import Skipped as Skipped_

from tests.hil.faulty_bench import SHORT, SMALL, Line, from_table, job
from tests.hil.test_culprits import wrong_feature
from tests.support import sample
from tests.support.cli import tinyfin
from tests.support.process import call, tinyfin_process
from tinyfin import paths
from tinyfin.cli.hil import text
from tinyfin.data.events import OUTCOME
from tinyfin.errors import InputError
from tinyfin.hil.failures import Failure, FailureKind
from tinyfin.hil.links.transcript import Kind, Writer, describe, entries, read
from tinyfin.hil.replay.playback import playback
from tinyfin.hil.rigs import access
from tinyfin.hil.rigs.rigfile import Deadlines, TargetSpec
from tinyfin.hil.runs import junit, suites
from tinyfin.hil.runs.results import (
    FAILED,
    PASSED,
    SKIPPED,
    STEPS,
    Case,
    Greeting,
    RigResult,
    TargetResult,
)
from tinyfin.hil.runs.runner import jobs, run_rig, write_results
from tinyfin.hil.runs.suites import Change
from tinyfin.hil.runs.suites_data import change
from tinyfin.hil.runs.target import run_target
from tinyfin.wire.client import Client
from tinyfin.wire.links import ProcessLink

pytestmark = pytest.mark.live

# what Jenkins' junit-10 schema allows: attributes (those with ! are required) and children
JUNIT = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {*("name!", "tests!", "failures!", "errors!", "group", "time", "skipped", "timestamp")}
        | {*("hostname", "id", "package", "file", "log", "url")},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name!", "value!"}, set()),
    "testcase": (
        {"name!", "time", "classname", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "skipped": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "failure": ({"type", "message"}, set()),
    "system-out": (set(), set()),
    "system-err": (set(), set()),
}
SECONDS = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")


def slower(boot_s: float = 10.0, answer_s: float = 5.0) -> Deadlines:
    update = {"boot_s": boot_s, "silence_s": 20.0, "answer_s": answer_s}
    return SHORT.model_copy(update=update)


def check_junit(data: bytes) -> xml.Element:
    root = xml.fromstring(data)
    assert root.tag == "testsuites"
    for element in root.iter():
        attributes, children = JUNIT[element.tag]
        assert set(element.attrib) <= {name.rstrip("!") for name in attributes}
        assert {name[:-1] for name in attributes if name.endswith("!")} <= set(element.attrib)
        assert {child.tag for child in element} <= children
        assert SECONDS.fullmatch(element.get("time", ""))
    for suite in root:
        cases = suite.findall("testcase")
        assert suite.get("tests") == str(len(cases))
        for name in ("failure", "error"):
            found = sum(case.find(name) is not None for case in cases)
            assert suite.get(name + "s") == str(found)
    return root


def two(pack: Path, second: dict[str, Any] | None = None) -> Any:
    table = {
        "rig": {"name": "pair", "run": str(pack)},
        "targets": {"one": {"target": "host"}, "two": second or {"target": "host"}},
    }
    return from_table(table)


def test_two_targets_in_parallel_one_of_them_unplugged(
    pack: Path, program: Path, silent_url: str, tmp_path: Path
) -> None:
    gone = {"target": "host", "flash": False, "port": {"url": silent_url}}
    rig = two(pack, gone).model_copy(update={"deadlines": slower(boot_s=20.0)})
    noisy = SMALL.model_copy(
        update={"name": "noisy", "replay": suites.SuiteReplay(chaos="fault=1/1000")}
    )
    todo = jobs(rig, rig.targets, [SMALL, noisy], run=pack, keys=(), folder=tmp_path)
    told: list[dict[str, Any]] = []
    result = run_rig(rig, todo, told.append)
    write_results(result, tmp_path)
    one, two_ = result.targets
    assert one.ok, one.cases
    assert not two_.ok
    assert not result.ok
    assert result.exit_code == 5
    assert {event["target"] for event in told} == {"one", "two"}
    assert one.cases[4].facts.faults
    root = check_junit((tmp_path / "junit.xml").read_bytes())
    assert [suite.get("errors") for suite in root] == ["0", "4"]
    error = root[1].find("testcase[@name='boot']/error")
    assert error is not None
    assert error.get("type") == "bench"
    facts = json.loads((tmp_path / "result.json").read_text())
    assert [target["failure"] for target in facts["targets"]] == [None, "bench"]
    assert facts["totals"]["lost"] == facts["totals"]["mismatches"] == 0
    page = json.loads((tmp_path / "report.json").read_text())
    assert page["verdict"]["pass"] is False
    assert "nothing listens" in (tmp_path / "report.html").read_text()

    # the transcript, played to another terminal of the same firmware
    transcript = read(tmp_path / "one.transcript.gz")
    assert transcript.whole
    assert any("suite noisy" in describe(entry) for entry in entries(transcript))
    with sample.terminal(program) as client:
        again = playback(transcript, client)
    assert again.ok, again.first
    assert again.compared > 20


def test_a_process_that_dies_and_one_that_hangs(pack: Path, tmp_path: Path) -> None:
    """A worker that is killed, and one that outlives its deadlines, are failures of the bench."""
    silent = Line(None)
    slow = {"boot_s": 60.0}
    stuck = {"target": "host", "flash": False, "port": {"url": silent.url}}
    rig = two(pack, stuck).model_copy(update={"deadlines": SHORT.model_copy(update=slow)})
    todo = jobs(rig, rig.targets, [SMALL], run=pack, keys=(), folder=None, lease_wait_s=0.0)
    killed: list[int] = []

    def tell(event: dict[str, Any]) -> None:
        if event["target"] == "one" and event["event"] == "begin" and not killed:
            import multiprocessing

            (child,) = [c for c in multiprocessing.active_children() if c.name == "one"]
            assert child.pid is not None
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    from tinyfin.hil.runs import runner as running

    limit = sum(running.longest_s(job) for job in todo[:1])
    result = run_rig(rig, todo, tell, slack_s=20.0 - limit)
    silent.close()
    first, second = (target.first_failure for target in result.targets)
    assert first is not None
    assert second is not None
    assert (first.kind, second.kind) == (FailureKind.BENCH, FailureKind.BENCH)
    assert "ended with code -9" in first.message
    assert "it was ended" in second.message
    assert all(case.status == FAILED for target in result.targets for case in target.cases)


def of_every_kind() -> RigResult:
    cases = [
        Case(name="flash", status=PASSED),
        Case(name="parity", reached=True),
        Case(name="soak"),
        Case(name="infer", status=SKIPPED, note="not offered"),
    ]
    cases[1].failure = Failure(
        kind=FailureKind.MISMATCH, message='row 3: "a" & <b> \x1b[0m differs', exit_code=4
    )
    target = TargetResult(
        name="m4",
        target="cortex-m4",
        emulated=True,
        cases=cases,
        logs=["\x00boot\ufffe"],
        hello=Greeting(capabilities=["ticks", "stack"]),
    )
    return RigResult(
        rig="rig",
        rig_file="rig.toml",
        run="run",
        suites=["parity"],
        targets=[target],
        started="2026-01-01T00:00:00",
        seconds=1.5,
    )


def test_a_result_is_read_again(tmp_path: Path) -> None:
    result = of_every_kind()
    path = tmp_path / "result.json"
    path.write_text(result.text())
    again = RigResult.read(path)
    assert again == result
    assert again.text() == result.text()
    assert again.exit_code == result.exit_code == 4
    path.write_text(result.text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError, match="has format 2, and this tinyfin reads up to 1"):
        RigResult.read(path)


def test_junit_of_every_kind_and_of_odd_text() -> None:
    result = of_every_kind()
    root = check_junit(junit.document(result))
    assert root.get("failures") == "1"
    assert root.get("errors") == "1", "what was never proven is an error"
    assert result.exit_code == 4
    assert not result.ok
    said = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert said["capabilities"] == "ticks, stack"


def read_independently(data: bytes) -> JUnitXml:
    """What junitparser makes of it; it counts the cases itself and wants the same sums."""
    read = JUnitXml.fromstring(data)
    counted = JUnitXml.fromstring(data)
    for suite in counted:
        suite.update_statistics()
    counted.update_statistics()
    sums = ("tests", "failures", "errors")
    for said, is_ in zip([read, *read], [counted, *counted], strict=True):
        assert [getattr(said, s) for s in sums] == [getattr(is_, s) for s in sums]
    for said, is_ in zip(read, counted, strict=True):
        assert (said.skipped, said.name) == (is_.skipped, is_.name)
    return read


def test_an_independent_parser_reads_the_same() -> None:
    result = of_every_kind()
    (suite,) = read_independently(junit.document(result))
    assert isinstance(suite, TestSuite)
    said = {case.name: case.result[0] if case.result else None for case in suite}
    kinds = {name: type(found) for name, found in said.items() if found is not None}
    assert kinds == {"parity": Failure_, "soak": Error_, "infer": Skipped_}
    assert said["parity"].type == "mismatch"
    assert said["parity"].message == r'row 3: "a" & <b> \x1b[0m differs'
    assert said["infer"].message == "not offered"
    assert {case.classname for case in suite} == {"rig.m4"}
    assert {p.name: p.value for p in suite.properties()}["capabilities"] == "ticks, stack"
    assert suite.timestamp == "2026-01-01T00:00:00"


@pytest.mark.parametrize(
    "harm",
    [
        (b'failures="1"', b'failures="0"'),
        (b'tests="4"', b'tests="5"'),
        (b'skipped="1"', b'skipped="0"'),
        (b"</testsuite>", b""),
    ],
)
def test_the_independent_parser_can_fail(harm: tuple[bytes, bytes]) -> None:
    good = junit.document(of_every_kind())
    read_independently(good)
    bad = good.replace(*harm)
    assert bad != good
    with pytest.raises((AssertionError, SyntaxError)):
        read_independently(bad)


def test_a_list_with_a_silent_board_is_no_success(
    program: Path, silent_url: str, tmp_path: Path
) -> None:
    rig_file = tmp_path / "rig.toml"
    line = Line(program)

    def listed(there: str, more: str = "") -> Any:
        rig_file.write_text(
            f'[targets.there]\ntarget = "{there}"\nflash = false\n'
            f'port = {{ url = "{line.url}" }}\n{more}'
        )
        return tinyfin(f"hil list --rig {rig_file}", code=None)

    found = listed("host")
    assert found.exit_code == 0, found.output
    assert "host, pack" in found.stdout
    other = listed("cortex-m4")
    assert other.exit_code == 5
    assert "the rig file says cortex-m4" in other.stdout
    gone = f'[targets.gone]\ntarget = "host"\nport = {{ url = "{silent_url}" }}\n'
    silent = listed("host", gone)
    assert silent.exit_code == 5
    assert "1 of 2 not there: gone; check power and cable" in silent.stderr
    assert listed("host", gone + 'off = "away"\n').exit_code == 0
    line.close()


def test_a_run_that_breaks_off_leaves_no_older_result(tmp_path: Path) -> None:
    wrong = tmp_path / "rig.toml"
    wrong.write_text("[targets.m4]\ntarget = 'cortex-m44'\nemulated = true\n")
    names = ["junit.xml", "result.json", "report.html"]
    for name in [*names, "other.xml"]:
        (tmp_path / name).write_text("green")
    words = ["hil", "run", "--rig", str(wrong), "--out", str(tmp_path)]
    tinyfin(*words, code=3)
    assert not [name for name in names if (tmp_path / name).exists()]
    assert (tmp_path / "other.xml").exists()
    tinyfin(*words, "--junit", tmp_path / "other.xml", code=None)
    assert not (tmp_path / "other.xml").exists()


def test_two_runs_do_not_share_a_folder_of_results(tmp_path: Path) -> None:
    out = tmp_path / "results"
    other = (
        "import sys, time\nfrom tinyfin.output_claims import claimed\n"
        "with claimed(sys.argv[1]):\n    print('here', flush=True)\n    time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", other, str(out)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "here\n"
    out.mkdir()
    (out / "junit.xml").write_text("theirs")
    words = ["hil", "run", "--rig", str(tmp_path / "none.toml"), "--out", str(out)]
    refused = tinyfin(*words, code=3)
    assert f"process {holder.pid} (-c, since " in refused.stderr
    assert (out / "junit.xml").read_text() == "theirs"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    tinyfin(*words, code=3)


def test_a_run_that_is_not_there_leaves_no_green_result(tmp_path: Path) -> None:
    for name in ("junit.xml", "result.json", "report.html", "report.json"):
        (tmp_path / name).write_text("an earlier run's")
    done = tinyfin(f"hil run --run {tmp_path}/nope.tfpack --out {tmp_path}", code=3)
    assert "--run: " in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_emulated_target_that_was_never_prepared_can_be_closed() -> None:
    spec = TargetSpec.model_validate({"target": "cortex-m4", "emulated": True})
    way = access.reach("m4", spec, SHORT)
    assert isinstance(way, access._Emulated)
    way.close()


def test_a_run_of_nothing_is_no_pass() -> None:
    def m4(*cases: Case) -> TargetResult:
        return TargetResult(name="m4", target="cortex-m4", emulated=True, cases=list(cases))

    assert not RigResult(rig="rig", rig_file="rig.toml", run="run", suites=[], targets=[]).ok
    assert not m4().ok
    skipped = m4(Case(name="x", status=SKIPPED))
    assert not skipped.ok
    steps = [Case(name=name, status=PASSED) for name in STEPS]
    without = m4(*steps, Case(name="parity", status=SKIPPED))
    assert not without.ok, "every suite was skipped: nothing was replayed"
    one = m4(*without.cases, Case(name="soak", status=PASSED))
    assert one.ok


@pytest.mark.parametrize("name", ["reboots", "clock", "malformed", "outcomes"])
def test_each_suite_passes_and_does_what_it_says(name: str, program: Path, pack: Path) -> None:
    suite = suites.find(name).with_data(
        simulate=suites.Simulated(terminals=1, days=2, seed=1), limit=None
    )
    line = Line(program)
    done = run_target(replace(job(pack, line.url, suite), deadlines=slower(answer_s=1.0)))
    line.close()
    assert done.ok, done.cases
    facts = done.cases[3].facts
    stats = facts.device_stats
    assert {
        "reboots": lambda: facts.faults["reboot"] > 0 and facts.repaired["reboots"] > 0,
        "clock": lambda: stats["clock_clamps"] > 0,
        "malformed": lambda: facts.hostile.frames == 400 and stats["frames_damaged"] > 0,
        "outcomes": lambda: stats["pending_overflows"] > 0 and stats["unknown_outcomes"] > 0,
    }[name]()


def test_hostile_frames_that_change_something_are_found(program: Path) -> None:
    """Control: the state is changed behind the suite's back."""
    from tinyfin.errors import MismatchError
    from tinyfin.hil.runs import hostile
    from tinyfin.wire.messages import Request

    client = Client(ProcessLink([str(program)]))
    client.connect()
    calls: list[int] = []
    real = client.checkpoint

    def checkpoint() -> Any:
        calls.append(1)
        if len(calls) == 3:
            real()  # until what was refused has been heard
            client.ordered(Request.STATE_RESET)
        return real()

    client.checkpoint = checkpoint  # type: ignore[method-assign]
    with pytest.raises(MismatchError, match="frames 20 to 40 of seed 1"):
        hostile.send_hostile(client, 100, 1, "x")
    client.close()


def test_changes_of_a_stream() -> None:
    tx = sample.make_transactions()
    stream = sample.make_stream(tx)
    late = change(tx, stream, [Change(kind="late-outcomes", share=0.5, by_events=9)])[1]
    assert len(late) == len(stream)
    for terminal in np.unique(tx.terminal):
        own = late.t_mono_s[tx.terminal[late.index] == terminal].astype(np.int64)
        assert (np.diff(own) >= 0).all(), "no terminal sees time go back"
    lost = change(tx, stream, [Change(kind="lost-outcomes", share=1.0)])[1]
    assert not (lost.kind == OUTCOME).any()
    twice = change(tx, stream, [Change(kind="repeated-outcomes", share=1.0)])[1]
    assert (twice.kind == OUTCOME).sum() == 2 * (stream.kind == OUTCOME).sum()
    jump = Change(kind="clock-jump", at=[0.5], seconds=-3600, clock="mono")
    moved, jumped = change(tx, stream, [jump])
    assert (moved.t_local_s == tx.t_local_s).all()
    assert set((stream.t_mono_s - jumped.t_mono_s).tolist()) == {0, 3600}


def test_playback_finds_other_firmware_and_a_cut_file_is_read_up_to_there(
    program: Path, pack: Path, tmp_path: Path
) -> None:
    line = Line(program)
    done = run_target(replace(job(pack, line.url, folder=tmp_path), deadlines=slower()))
    line.close()
    assert done.ok, done.cases
    path = tmp_path / "board.transcript.gz"
    client = Client(ProcessLink([str(wrong_feature())]))
    found = playback(read(path), client)
    client.close()
    assert not found.ok
    assert found.first is not None

    path.write_bytes(path.read_bytes()[:-900])
    cut = read(path)
    assert not cut.whole
    assert len(cut.records) > 5
    path.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(Exception, match="is no transcript"):
        read(path)
    with Path(tmp_path / "x.gz").open("wb"):
        writer = Writer(tmp_path / "x.gz", {"name": "x"})
        writer.put(Kind.UP, b"abc")
        writer.close()
        writer.put(Kind.UP, b"after the end")
    assert [record.data for record in read(tmp_path / "x.gz").records] == [b"abc"]


def test_the_plugin_costs_nothing_and_the_examples_pass(tmp_path: Path, pack: Path) -> None:
    script = (
        "import sys, pytest\nimport tinyfin.hil.pytest_plugin\n"
        "print([m for m in ('numpy', 'pydantic', 'serial', 'pyarrow', 'tinyfin.twin', 'click')"
        " if m in sys.modules])"
    )
    done = call(sys.executable, "-c", script)
    assert done.stdout.strip() == "[]"
    hil = paths.project_dir() / "hil"
    words = ["-q", "-p", "no:cacheprovider", "--tinyfin-rig", hil / "rig.emulated.toml"]
    words += ["--tinyfin-target", "host", "--junit-xml", tmp_path / "junit.xml"]
    words += ["-c", os.devnull, f"--rootdir={tmp_path}"]
    call(sys.executable, "-m", "pytest", hil / "tests", *words, deadline_s=280)
    text = (tmp_path / "junit.xml").read_text()
    assert "test_state_outlives_a_restart[host]" in text
    assert 'name="host.pack_id"' in text


def test_the_command_line(pack: Path, tmp_path: Path) -> None:
    rig_file = tmp_path / "rig.toml"
    rig_file.write_text(
        f'[rig]\nrun = "{pack}"\n[deadlines]\nboot_s = 20\n[targets.here]\ntarget = "host"\n'
    )

    def hil(line: str, code: int = 0) -> CompletedProcess[str]:
        return tinyfin_process(f"hil {line}", code=code, cwd=tmp_path, deadline_s=200)

    done = hil(f"run --rig {rig_file} --events 150 --out results --json")
    facts = json.loads(done.stdout)
    assert facts["ok"]
    assert facts["totals"]["events"] == 150
    assert "here         parity PASSED" in done.stderr
    hil(f"run --rig {rig_file} --suite nothing", code=3)
    hil("run --rig none.toml", code=3)
    assert "emulated host" in hil(f"list --rig {rig_file}").stdout
    again = json.loads((tmp_path / "results" / "report.json").read_text())["commands"][0]
    assert again.startswith(f"tinyfin hil run --rig {rig_file} --run {pack} --suite parity")
    assert again.endswith("--events 150")


def test_what_was_not_flashed_is_skipped_and_says_why(
    program: Path, pack: Path, tmp_path: Path
) -> None:
    """flash = false, --no-flash, and a target that cannot be flashed: no green case, and the rest
    is proven all the same."""
    line = Line(program)
    for more, words in (({}, "flash = false or --no-flash"), ({"flash": True}, "is no board")):
        one = job(pack, line.url, **more)  # type: ignore[arg-type]
        result = run_target(replace(one, deadlines=slower()))
        flash = result.cases[0]
        assert (flash.status, flash.failure) == (SKIPPED, None)
        assert words in flash.note
        assert result.ok, result.cases
        whole = RigResult(rig="r", rig_file="r.toml", run="run", suites=[], targets=[result])
        root = check_junit(junit.document(whole))
        (case,) = root.findall(".//testcase[@name='flash']")
        said = case.find("skipped")
        assert said is not None
        assert said.get("message") == flash.note
        assert f"flash        SKIPPED {flash.note}" in text(whole)
    line.close()
    rig_file = tmp_path / "rig.toml"
    rig_file.write_text(f'[rig]\nrun = "{pack}"\n[targets.here]\ntarget = "host"\n')
    words = ["hil", "run", "--rig", str(rig_file), "--events", "50", "--out", str(tmp_path)]
    for more, status in (([], PASSED), (["--no-flash"], SKIPPED)):
        done = tinyfin(*words, *more)
        assert f"here         flash        {status.upper()}" in done.stdout


def test_an_image_of_ones_own_is_what_is_flashed_and_booted(
    program: Path, pack: Path, tmp_path: Path
) -> None:
    """In place of tinyfin's firmware: on this machine, and by a flash command of a board."""
    (tmp_path / "bin").mkdir()
    own = tmp_path / "bin" / "own.elf"
    rig_file = tmp_path / "rig.toml"
    line = Line(program)
    flasher = f"echo {{elf}} {{bin}} > {tmp_path}/flashed"
    rig_file.write_text(
        f'[rig]\nrun = "{pack}"\n[targets.here]\ntarget = "host"\nimage = "bin/own.elf"\n'
        f'[targets.board]\ntarget = "stm32f405"\nport = {{ url = "{line.url}" }}\n'
        f'image = "bin/own.elf"\nflash = "{flasher}"\noff = "not for the first part"\n'
    )
    words = ["hil", "run", "--rig", str(rig_file), "--events", "50", "--out", str(tmp_path)]
    gone = tinyfin(*words, code=5)
    assert f"image: {own}: no such file; build it first" in gone.stdout
    own.symlink_to(program)
    assert "here         parity       PASSED" in tinyfin(*words).stdout
    done = tinyfin(*words, "--target", "board", code=5)  # flashed, and what answers is the host's
    assert "board        flash        PASSED" in done.stdout
    assert "a host answers, not a stm32f405" in done.stdout
    assert (tmp_path / "flashed").read_text().split() == [str(own), str(own.with_suffix(".bin"))]
    line.close()
