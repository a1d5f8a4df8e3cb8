# SPDX-License-Identifier: Apache-2.0
"""The same replay on emulated targets, and the network alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.wire.test_speed import ask
from tinyfin.codegen import monocypher
from tinyfin.hil.links.session import emulated
from tinyfin.measure.network_costs import bench
from tinyfin.targets import build as building
from tinyfin.targets import catalogue
from tinyfin.twin import Twin

pytestmark = pytest.mark.live


@pytest.mark.parametrize("name", ["cortex-m4", "stm32f405"])
def test_replay_is_equal_on_the_target(name: str, tmp_path: Path) -> None:
    pack = tmp_path / "model.tfpack"
    pack.write_bytes(sample.make_pack())
    target = catalogue.get(name)
    image = building.build(target, pack=pack)
    with emulated(target, image.elf) as session:
        how = {"limit": 300, "target": name, "checkpoint_events": 300}
        result = sample.replayed(session.client, instructions=session.instructions, **how)
        painted, free = session.client.stack()
        assert ask(session.client, 10_000_000) == 115_200
        assert ask(session.client, 230_400) == 230_400
        assert session.client.stats()["frames_damaged"] == 0
    result.check()
    facts = result.as_dict()
    print(
        name,
        facts["instructions"],
        f"flash {image.flash_bytes} RAM {image.ram_bytes}",
        f"stack {painted - free}",
        f"{facts['transactions_per_second']}/s",
    )
    assert facts["verdicts"] == 300
    assert facts["checkpoints"] >= 2
    assert 1000 < facts["instructions"]["median"] <= facts["instructions"]["max"] < 200_000
    assert 0 < painted - free < 8192


def test_bench_counts_and_compares(tmp_path: Path) -> None:
    model = tmp_path / "net.tflite"
    n = 16
    model.write_bytes(sample.network(n))
    inputs = np.random.default_rng(0).integers(-128, 128, (20, n)).astype(np.int8)
    first = bench(model, "cortex-m4", inputs)
    assert first.mismatched_bytes is None
    assert first.instructions.min() > 100
    assert first.flash_bytes > first.plan_bytes > 0
    assert first.ram_bytes > 0
    again = bench(model, "cortex-m4", inputs, first.outputs)
    assert again.mismatched_bytes == 0
    assert (again.instructions == first.instructions).all()
    wrong = first.outputs.copy()
    wrong[3] ^= 1
    assert bench(model, "cortex-m4", inputs, wrong).mismatched_bytes == 1


def test_another_model_compiles_only_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal around the network is compiled once, and the figures are as if each had its own
    folder: the control is a build in a cache of its own."""
    inputs = {
        n: np.random.default_rng(n).integers(-128, 128, (4, n)).astype(np.int8) for n in (12, 20)
    }
    for n in inputs:
        (tmp_path / f"{n}.tflite").write_bytes(sample.network(n))
    compiled: list[set[str]] = []
    measure = building._measure

    def measured(target: catalogue.Target, workspace: Path, log: Path) -> building.BuildResult:
        compiled.append(set(re.findall(r"Compiling \S+/(\S+)\.o", log.read_text())))
        return measure(target, workspace, log)

    monkeypatch.setenv("TINYFIN_MONOCYPHER", str(monocypher.obtain()))
    monkeypatch.setattr(building, "_measure", measured)
    found = {}
    for cache, sizes in (("shared", (12, 20)), ("alone", (20,))):
        monkeypatch.setenv("TINYFIN_CACHE", str(tmp_path / cache))
        for n in sizes:
            facts = bench(tmp_path / f"{n}.tflite", "cortex-m4", inputs[n]).as_dict()
            assert found.setdefault(n, facts) == facts
    first, second, alone = compiled
    assert {"boot", "crc32", "net"} <= first & alone
    assert second <= {"bench_plan", "main", "net"}


def test_infer_through_the_pack_is_the_bench(tmp_path: Path) -> None:
    """Inside the whole terminal the network costs the same: nothing else is counted."""
    pack = tmp_path / "model.tfpack"
    pack.write_bytes(sample.make_pack())
    twin = Twin(sample.make_pack())
    model = tmp_path / "net.tflite"
    model.write_bytes(sample.network(twin.input_count))
    inputs = np.random.default_rng(1).integers(-128, 128, (5, twin.input_count)).astype(np.int8)
    outputs, _ = twin.infer(inputs)
    alone = bench(model, "cortex-m4", inputs, outputs)
    assert alone.mismatched_bytes == 0
    target = catalogue.get("cortex-m4")
    with emulated(target, building.build(target, pack=pack).elf) as session:
        session.client.connect()
        assert session.instructions is not None
        for i, row in enumerate(inputs):
            answer = session.client.infer(row.tobytes(), measure=True)
            assert answer.output == outputs[i].tobytes()
            assert abs(session.instructions(answer.ticks) - int(alone.instructions[i])) <= 40
            assert abs(answer.stack_bytes - alone.stack_bytes) <= 64
