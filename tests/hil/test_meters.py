# SPDX-License-Identifier: Apache-2.0
"""Suites that time verdicts and weigh their energy. The meters are made up: no test has one."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.hil.faulty_bench import SMALL, Line, spec
from tests.hil.test_ports import PATIENT
from tinyfin.errors import BenchError, ConfigError, LinkError
from tinyfin.hil.rigs import meters
from tinyfin.hil.rigs.meters import Draw, Ppk2Meter, ScpiMeter
from tinyfin.hil.rigs.ports import lease_names
from tinyfin.hil.rigs.rigfile import MeterSpec, from_table
from tinyfin.hil.runs import suites
from tinyfin.hil.runs.results import TargetResult
from tinyfin.hil.runs.suites import EnergyGate, LatencyGate, Suite
from tinyfin.hil.runs.target import Job, run_target
from tinyfin.wire.links import ProcessLink
from tinyfin.wire.serial_link import open_link

pytestmark = pytest.mark.live

URL = f"socket://127.0.0.1:{20_000 + os.getpid() % 20_000}"
"""Where nothing listens; of this process alone, because it is leased."""
METER = {"kind": "scpi", "port": {"url": URL}, "volts": 3.0}


@dataclass
class Prepared:
    """A meter that has its readings already."""

    draws: list[Draw]
    volts: float = 3.0
    calls: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> Draw:
        self.calls.append("stop")
        return self.draws.pop(0)

    def close(self) -> None:
        self.calls.append("close")


def run(program: Path, pack: Path, suite: Suite, **more: object) -> TargetResult:
    line = Line(program)
    try:
        return run_target(
            Job("board", spec(line.url, **more), PATIENT, pack, (), (suite,), lease_wait_s=0.0)
        )
    finally:
        line.close()


def small(**more: object) -> Suite:
    return SMALL.model_copy(update={"name": "measured", "deadline_s": 60.0, **more})


# --------------------------------------------------------------------------- latency


def test_verdicts_are_timed_and_still_compared(program: Path, pack: Path) -> None:
    result = run(program, pack, small(latency=LatencyGate()))
    assert result.ok, result.cases
    case = result.cases[3]
    found = case.facts.latency
    assert found is not None
    assert found.verdicts == case.facts.verdicts == 120
    assert found.tick_hz == 1_000_000_000
    assert 0 < found.median_us <= found.p99_us <= found.max_us
    assert case.facts.instructions is None, "ticks are no instructions"
    assert case.note.startswith("p99 ")


def test_a_gate_that_no_machine_meets(program: Path, pack: Path) -> None:
    result = run(program, pack, small(latency=LatencyGate(p99_us=1e-6)))
    failure = result.cases[3].failure
    assert failure is not None
    assert (failure.kind, failure.exit_code) == ("mismatch", 4)
    assert "board: latency.p99_us: " in failure.message
    assert "the suite allows 1e-06 µs" in failure.message
    assert result.cases[3].facts.verdicts == 120, "the numbers are in the result all the same"


def test_the_percentile_is_one_that_occurred() -> None:
    from tinyfin.hil.replay.facts import Latency

    found = Latency.of(np.arange(1, 201), 1_000_000)
    assert (found.median_us, found.p99_us, found.max_us) == (100.5, 199.0, 200.0)


def test_a_counter_that_stands_still_times_nothing(
    program: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyfin.hil.runs import target

    monkeypatch.setattr(target.TargetRun, "_instructions", lambda *_: lambda ticks: 0)
    failure = run(program, pack, small(latency=LatencyGate())).cases[3].failure
    assert failure is not None
    assert "its tick counter stands still" in failure.message


# ---------------------------------------------------------------------------- energy


def test_energy_is_what_the_replay_draws_above_sleep(
    program: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6 µA asleep at 3 V; the replay takes 12 mJ in 2 s, of which sleep would be 36 µJ."""
    meter = Prepared([Draw(10.0, 6e-6 * 3.0 * 10.0), Draw(2.0, 12e-3)])
    monkeypatch.setattr(meters, "open_meter", lambda *_: meter)
    result = run(program, pack, small(energy=EnergyGate(idle_s=0.01)), meter=METER)
    assert result.ok, result.cases
    case = result.cases[3]
    found = case.facts.energy
    assert found is not None
    assert found.sleep_ua == 6.0
    assert found.uj_per_verdict == pytest.approx((12_000 - 36) / 120, abs=0.001)
    assert found.uj_per_verdict_in_all == 100.0
    assert meter.calls == ["start", "stop", "start", "stop", "close"]
    assert case.note == "99.7 µJ per verdict, 6.0 µA asleep"


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"uj_per_verdict": 99.0}, "energy.uj_per_verdict: 99.700 µJ"),
        ({"sleep_ua": 5.0}, "6.000 µA"),
    ],
)
def test_gates_of_energy(
    gate: dict[str, float], said: str, program: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = Prepared([Draw(10.0, 6e-6 * 3.0 * 10.0), Draw(2.0, 12e-3)])
    monkeypatch.setattr(meters, "open_meter", lambda *_: meter)
    suite = small(energy=EnergyGate(idle_s=0.01, **gate))
    failure = run(program, pack, suite, meter=METER).cases[3].failure
    assert failure is not None
    assert failure.kind == "mismatch"
    assert said in failure.message


def test_without_a_meter_the_suite_is_skipped(program: Path, pack: Path) -> None:
    case = run(program, pack, small(energy=EnergyGate())).cases[3]
    assert case.status == "skipped"
    assert case.note == "there is no meter: targets.board.meter is not given"


def test_a_suite_that_fails_says_why_and_not_what_the_meter_says(
    program: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Prepared):
        def stop(self) -> Draw:
            if len(self.draws) == 1:
                raise BenchError("the meter is gone, too")
            return super().stop()

    from tinyfin.hil.runs import target

    def fails(*_: object) -> None:
        raise LinkError("the line is gone")

    meter = Broken([Draw(10.0, 1e-3), Draw(2.0, 12e-3)])
    monkeypatch.setattr(meters, "open_meter", lambda *_: meter)
    monkeypatch.setattr(target.TargetRun, "_round", fails)
    failure = (
        run(program, pack, small(energy=EnergyGate(idle_s=0.01)), meter=METER).cases[3].failure
    )
    assert failure is not None
    assert failure.message == "the line is gone"


def test_a_meter_that_is_not_there_is_the_benchs_fault(program: Path, pack: Path) -> None:
    result = run(program, pack, small(energy=EnergyGate()), meter=METER)
    failure = result.cases[0].failure
    assert failure is not None
    assert failure.kind == "bench"
    assert URL in failure.message


def test_two_targets_cannot_share_a_meter() -> None:
    one = spec("socket://h:1", meter=METER)
    assert URL in lease_names(one)


@pytest.mark.parametrize(
    ("meter", "said"),
    [
        ('{ kind = "ppk2", port = { serial_number = "1" }, volts = 12 }', "takes 0.8 to 5"),
        ('{ kind = "scpi", port = { url = "socket://m:5025" }, supplies = true }', "for a ppk2"),
        ('{ kind = "joulescope", port = { serial_number = "1" } }', "ppk2"),
    ],
)
def test_meters_that_cannot_be(meter: str, said: str) -> None:
    import tomllib

    text = f'[targets.a]\ntarget = "host"\nport = {{ url = "socket://h:1" }}\nmeter = {meter}'
    with pytest.raises(ConfigError, match=said):
        from_table(tomllib.loads(text))


def test_the_suites_of_the_project() -> None:
    assert suites.find("latency").latency is not None
    assert suites.find("energy").energy is not None


# ---------------------------------------------------------------------------- meters

ANSWERS = """#!{python}
import sys
asked = 0
for line in sys.stdin:
    asked += 1
    print({answer}, flush=True)
"""


def scpi(tmp_path: Path, answer: str) -> ProcessLink:
    path = tmp_path / "meter"
    path.write_text(ANSWERS.format(python=sys.executable, answer=answer))
    path.chmod(0o755)
    link = open_link(f"exec:{path}")
    assert isinstance(link, ProcessLink)
    return link


def test_an_scpi_meter_of_a_steady_current(tmp_path: Path) -> None:
    meter = ScpiMeter(scpi(tmp_path, '"+2.000000E-03"'), 3.0, query="MEAS:CURR?")
    for _ in range(2):
        meter.start()
        time.sleep(0.1)
        drawn = meter.stop()
        assert drawn.seconds > 0
        assert drawn.watts == pytest.approx(6e-3)
    meter.close()


def test_an_scpi_meter_that_says_something_else(tmp_path: Path) -> None:
    link = scpi(tmp_path, '"1e-3" if asked < 3 else "ERROR -113"')
    meter = ScpiMeter(link, 3.0, query="MEAS:CURR?", name="left")
    meter.start()
    time.sleep(0.2)
    with pytest.raises(BenchError, match=r"left: the meter at .*ERROR -113.*targets\.left\.meter"):
        meter.stop()
    meter.close()


class FakePpk2:
    """Answers as a PPK2 with known constants; ``current`` is what its samples say."""

    name = "/dev/ppk2"
    can_reset = False
    METADATA = (
        "Calibrated: 0\nR0: 1000\nR1: 100\nR2: 10\nR3: 1\nR4: 0.05\n"
        "GS0: 0\nGS1: 0\nGI0: 1\nGI1: 1\nO0: 100\nO1: 100\nS0: 0\nI0: 0\nUG0: 1\nUG1: 1\nEND"
    )

    def __init__(self, words: list[int], metadata: str = METADATA) -> None:
        self.words, self.metadata = words, metadata
        self.commands: list[bytes] = []
        self._out: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.commands.append(data)
        if data == b"\x19":
            self._out.append(self.metadata.encode())
        elif data == b"\x06":
            raw = b"".join(word.to_bytes(4, "little") for word in self.words)
            self._out += [raw[:5], raw[5:7], raw[7:]]  # pieces that end within a sample

    def read(self, timeout_s: float) -> bytes:
        return self._out.pop(0) if self._out else b""

    def close(self) -> None:
        self.closed = True

    def reopen(self, timeout_s: float) -> None:
        raise AssertionError

    reset = close


def sample(value: int, counter: int, which: int = 0) -> int:
    return value | which << 14 | (counter & 63) << 18


def ppk2(link: FakePpk2, **more: object) -> Ppk2Meter:
    return Ppk2Meter(link, 3.0, name="left", **more)  # type: ignore[arg-type]  # any option


def drawn(link: FakePpk2) -> Draw:
    meter = ppk2(link)
    meter.start()
    end = time.monotonic() + 5.0
    while link._out and time.monotonic() < end:
        time.sleep(0.01)
    return meter.stop()


def test_a_ppk2_is_read_as_its_calibration_says() -> None:
    """(4 * 1025 - 100) * 1.8 / 163,840 V over 1000 ohms are 43.945 µA; ten times over 100."""
    link = FakePpk2([sample(1025, i) for i in range(100)])
    found = drawn(link)
    assert found.seconds == pytest.approx(0.001)
    assert found.watts == pytest.approx(4000 * 1.8 / 163_840 / 1000 * 3.0)
    wider = drawn(FakePpk2([sample(1025, i, which=1) for i in range(100)]))
    assert wider.watts == pytest.approx(10 * found.watts)


def test_samples_that_were_lost_are_time_that_passed() -> None:
    link = FakePpk2([sample(1025, i) for i in range(100) if i not in (50, 51)])
    assert drawn(link).seconds == pytest.approx(0.001)
    with pytest.raises(BenchError, match="50 of 101 samples were lost"):
        drawn(FakePpk2([sample(1025, 2 * i) for i in range(50)] + [sample(1025, 100)]))


def test_a_ppk2_powers_the_board_before_anything_else() -> None:
    link = FakePpk2([])
    meter = ppk2(link)
    assert link.commands[-3:] == [b"\x11\x01", b"\x0d\x0b\xb8", b"\x0c\x01"]
    meter.close()
    assert link.closed
    link = FakePpk2([])
    ppk2(link, supplies=True)
    assert b"\x11\x02" in link.commands


def test_something_else_than_a_ppk2() -> None:
    bad = FakePpk2.METADATA.replace("R0: 1000\n", "")
    with pytest.raises(BenchError, match="its calibration lacks R0"):
        ppk2(FakePpk2([], bad))


def test_the_spec_opens_the_meter_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = scpi(tmp_path, '"1e-3"')
    link.close()
    meter = meters.open_meter(
        MeterSpec.model_validate(METER), lambda: f"exec:{tmp_path / 'meter'}", "left"
    )
    assert isinstance(meter, ScpiMeter)
    assert meter.volts == 3.0
    meter.close()
