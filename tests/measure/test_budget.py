# SPDX-License-Identifier: Apache-2.0
"""`tinyfin budget`: parts that add up, limits that are kept, counts that hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support import sample
from tests.support.native import code
from tests.support.process import needs_cortex_m
from tinyfin import paths
from tinyfin.cli.budget import command
from tinyfin.errors import BudgetError, PackError
from tinyfin.features.compiler import compile_program
from tinyfin.measure import instrument
from tinyfin.measure.estimates import Estimate, parse_clock
from tinyfin.measure.pack_costs import Budget, Instructions, budget, overruns
from tinyfin.pack.signing import generate_key
from tinyfin.pack.trust import save_public_key
from tinyfin.schema import PAYMENT
from tinyfin.targets import build as building
from tinyfin.targets.image_size import _SLOTS as SLOTS
from tinyfin.targets.image_size import FLASH_PARTS, RAM_PARTS, image_budget
from tinyfin.targets.stack_bound import frames, interrupt_entry_bytes, stack_bound

NAME = "stm32vldiscovery"
PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"

pytestmark = [pytest.mark.xdist_group(f"target-{NAME}"), needs_cortex_m]


@pytest.fixture(scope="module")
def sizes() -> Budget:
    return budget(PACK, NAME, measure=False)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(command, [str(PACK), "--target", NAME, "--no-measure", *words])


def test_parts_add_up_to_the_image(sizes: Budget) -> None:
    image = building.build(NAME, pack=PACK)
    parts = image_budget(image, PACK)
    assert tuple(parts.flash) == FLASH_PARTS
    assert set(parts.ram) == set(RAM_PARTS)
    assert parts.flash_bytes == image.flash_bytes == image.binary.stat().st_size
    assert parts.ram_bytes == image.ram_bytes
    assert min(parts.flash.values()) >= 0
    assert parts.flash["alignment"] < 256
    assert parts.flash["plan"] + parts.flash["pack"] == PACK.stat().st_size
    assert parts.flash["signature check"] > 5000
    assert parts.flash["engine"] > parts.flash["network"] > 500
    assert sizes.image == parts


def test_what_is_counted_as_slots_comes_with_them() -> None:
    """Functions of the engine that the slots alone call: an image without slots has none."""
    with_slots, without = (
        {one.name for one in building.symbols(building.build(name, pack=PACK))}
        for name in ("cortex-m4", "bluepill")
    )
    assert set(SLOTS) <= with_slots
    assert not set(SLOTS) & without


def test_a_set_of_features_alone(tmp_path: Path) -> None:
    """The default program fits eight kilobytes; what the whole catalogue needs is named."""
    words = ["--set", "default", "--target", NAME, "--no-measure", "--max-ram", "8k", "--json"]
    answer = CliRunner().invoke(command, words)
    assert answer.exit_code == 0, answer.output
    facts = json.loads(answer.stdout)
    sets = facts["sets"]
    ram = facts["targets"][0]["ram"]
    assert sets["default"]["memory_bytes"] == ram["state"] + ram["scratch"]
    assert sets["all"]["features"] > 80
    assert sets["all"]["memory_bytes"] > sets["default"]["memory_bytes"]
    assert CliRunner().invoke(command, [*words[2:]]).exit_code == 2


def test_the_reference_pack_fits_eight_kilobytes(sizes: Budget) -> None:
    assert sizes.ram_bytes <= 8 << 10
    own = sizes.image.flash_bytes - sizes.image.flash["pack"] - sizes.image.flash["plan"]
    slots = sizes.image.flash["slots and journal"]
    assert own - sizes.image.flash["signature check"] - slots <= 31 << 10
    assert slots <= 11 << 10
    assert not overruns([sizes], 64 << 10, 8 << 10)
    library, ram = sizes.image.library_flash_bytes, sizes.image.library_ram_bytes
    assert sizes.image.flash["engine"] < library < sizes.image.flash_bytes
    assert ram < sizes.image.ram_bytes
    assert not overruns([sizes], library, ram + sizes.stack_bytes, library=True)
    assert len(overruns([sizes], library - 1, ram + sizes.stack_bytes - 1, library=True)) == 2
    assert len(overruns([sizes], library, ram + sizes.stack_bytes)) == 2


def test_json_has_what_a_build_server_reads() -> None:
    result = invoke("--json", "--max-flash", "64k", "--max-ram", "8k")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["fits"] is True
    assert facts["overruns"] == []
    [row] = facts["targets"]
    assert row["target"] == NAME
    assert {
        "flash_bytes",
        "ram_bytes",
        "stack_bytes",
        "flash",
        "ram",
        "largest_flash",
        "largest_ram",
        "stack_bound_bytes",
        "stack_path",
        "instructions",
        "not_measured",
    } <= set(row)
    assert sum(n for part, n in row["flash"].items() if part != "total") == row["flash_bytes"]
    assert row["not_measured"]


def test_an_overrun_is_named_with_exit_code_7() -> None:
    result = invoke("--json", "--max-flash", "32k", "--max-ram", "6k")
    assert result.exit_code == BudgetError.exit_code == 7
    facts = json.loads(result.stdout)
    assert facts["fits"] is False
    flash, ram = facts["overruns"]
    assert "over 32768 B" in flash
    assert "rest of the pack" in flash
    assert "over 6144 B" in ram
    assert "state" in ram
    assert "stack" in ram
    assert flash in result.stderr


COUNTED = Instructions(100, 8000, 16_000, 20_000, 1, 1, 1, 1, 1, 1, 1, 1, 40_000, ())


def test_an_estimate_is_arithmetic_and_says_that_it_is_one() -> None:
    """8,000 instructions at 80 MHz take 100 µs, at 0.1 nJ each 0.8 µJ."""
    made = Estimate.of(COUNTED, 80_000_000, 0.1)
    assert (made.median_us, made.p99_9_us, made.bound_us) == (100.0, 200.0, 500.0)
    assert (made.median_uj, made.p99_9_uj) == (0.8, 1.6)
    assert str(made).startswith("estimate, at one cycle an instruction, not measured: 100.0 µs")
    alone = Estimate.of(COUNTED, None, 0.1)
    assert alone.median_us is None
    assert "µs" not in str(alone)
    assert "at 0.1 nJ" in str(alone)


@pytest.mark.parametrize(
    ("said", "hz"),
    [("80M", 80_000_000), ("16MHz", 16_000_000), ("1.5 M", 1_500_000), ("32k", 32_000)],
)
def test_a_clock_is_in_powers_of_1000(said: str, hz: int) -> None:
    assert parse_clock(said) == hz


@pytest.mark.parametrize("said", ["fast", "0", "-80M", "80MB", ""])
def test_what_is_no_clock(said: str) -> None:
    with pytest.raises(ValueError, match="is no clock; write Hz, 80M or 16MHz"):
        parse_clock(said)
    assert invoke("--clock", said).exit_code == 2


def test_an_estimate_needs_counted_instructions() -> None:
    answer = invoke("--clock", "80M")  # with --no-measure
    assert answer.exit_code == 2
    assert "--no-measure" in answer.output


def test_a_limit_is_a_size() -> None:
    assert invoke("--max-flash", "much").exit_code == 2


def test_stack_bound_follows_the_deepest_calls(tmp_path: Path) -> None:
    (tmp_path / "a.ci").write_text(
        'graph: { title: "a"\n'
        'node: { title: "main" label: "main\\na.c:1:1\\n8 bytes (static)" }\n'
        'node: { title: "a.c:f" label: "f\\na.c:2:1\\n100 bytes (static)" }\n'
        'node: { title: "g" label: "g\\nb.c:2:1" shape : ellipse }\n'
        'edge: { sourcename: "main" targetname: "a.c:f" label: "a.c:9:9" }\n'
        'edge: { sourcename: "main" targetname: "g" label: "a.c:9:9" }\n'
        'edge: { sourcename: "g" targetname: "main" }\n}\n'
    )
    (tmp_path / "b.ci").write_text(
        'node: { title: "g" label: "g\\nb.c:2:1\\n40 bytes (static)" }\n'
        'node: { title: "h" label: "h\\nb.c:3:1\\n64 bytes (static)" }\n'
        'edge: { sourcename: "g" targetname: "h" }\n'
        'edge: { sourcename: "h" targetname: "__divsi3" }\n'
    )
    assert stack_bound(tmp_path) == (176, ("main", "g", "h", "__divsi3"), ("__divsi3",))
    assert stack_bound(tmp_path / "nothing") == (None, (), ())


def test_assembler_takes_stack_that_gcc_does_not_see(tmp_path: Path) -> None:
    (tmp_path / "fully_connected_dsp.ci").write_text(
        'node: { title: "main" label: "main\\na.c:1:1\\n8 bytes (static)" }\n'
        'node: { title: "a.c:groups" label: "groups\\na.c:2:1\\n0 bytes (static)" }\n'
        'edge: { sourcename: "main" targetname: "a.c:groups" label: "a.c:9:9" }\n'
    )
    assert stack_bound(tmp_path)[0] == 8
    assert stack_bound(tmp_path, {"groups": 104, "main": 4})[0] == 112
    (tmp_path / "fully_connected_dsp.ci").rename(tmp_path / "engine.ci")
    assert stack_bound(tmp_path, {"groups": 104})[0] == 8, "of other files GCC tells all"


def test_an_interrupt_may_come_at_the_deepest_point(tmp_path: Path) -> None:
    (tmp_path / "port.ci").write_text(
        'node: { title: "main" label: "main\\na.c:1:1\\n80 bytes (static)" }\n'
        'node: { title: "port.c:receive" label: "receive\\nport.c:2:1\\n16 bytes (static)" }\n'
        'node: { title: "put" label: "put\\nring.c:2:1\\n8 bytes (static)" }\n'
        'edge: { sourcename: "port.c:receive" targetname: "put" label: "port.c:9:9" }\n'
    )
    assert stack_bound(tmp_path, {}, 36)[0] == 80 + 36 + 16 + 8
    (tmp_path / "port.ci").write_text(
        'node: { title: "main" label: "main\\na.c:1:1\\n80 bytes (static)" }\n'
    )
    assert stack_bound(tmp_path, {}, 36)[0] == 80, "a port that polls"


def test_what_an_interrupt_takes_is_of_the_core() -> None:
    thumb = "00000010 <f>:\n  10:\tb500      \tpush\t{lr}\n"
    assert interrupt_entry_bytes(thumb) == 36
    assert interrupt_entry_bytes(thumb + "  12:\ted2d 8b0c \tvpush\t{d8-d13}\n") == 108
    riscv = "80000030 <tfin_riscv_trap>:\n80000030:\t7139  \tadd\tsp,sp,-64\n"
    assert interrupt_entry_bytes(riscv + "80000070:\t6121  \tadd\tsp,sp,64\n") == 64
    assert interrupt_entry_bytes("50000000 <f>:\n50000000:\t136f\taddi\ta1, a1, -16\n") == 0


def test_the_linker_keeps_free_what_the_stack_may_take(sizes: Budget) -> None:
    """An image that links has memory for the deepest calls: on the smallest part too."""
    board = json.loads((paths.firmware_dir() / "platform" / "boards" / f"{NAME}.json").read_text())
    bound = sizes.image.stack_bound_bytes
    assert bound is not None
    assert bound <= board["build"]["stack_minimum"] <= bound + 128


def test_the_stack_of_assembler_is_read_from_the_image() -> None:
    arm = """
000074b4 <tfin_fully_connected>:
    74b4:\te92d 4ff0 \tstmdb\tsp!, {r4, r5, r6, r7, r8, r9, sl, fp, lr}
    74b8:\ted2d 8b0c \tvpush\t{d8-d13}
    74ba:\tb440      \tpush\t{r6}
    74bc:\tb084      \tsub\tsp, #16
    74c0:\tb004      \tadd\tsp, #16
    74c2:\te8bd 8ff0 \tldmia.w\tsp!, {r4, r5, r6, r7, r8, r9, sl, fp, pc}

000074d0 <next>:
    74d0:\tf2ad 4d04 \tsubw\tsp, sp, #1028
"""
    assert frames(arm) == {"": 0, "tfin_fully_connected": 104, "next": 1028}
    xtensa = (
        "5000aa44 <f>:\n5000aa44:\tf0c112        \taddi\ta1, a1, -16\n"
        "5000aa4f:\tb0c112        \taddi\ta1, a1, -80\n5000aa52:\t10c112  \taddi\ta1, a1, 80\n"
    )
    assert frames(xtensa)["f"] == 96
    assert frames("80000100 <g>:\n80000100:\t1101  \tadd\tsp,sp,-32\n")["g"] == 32


def test_counts_hold() -> None:
    """Stack painted within its bound, instructions within theirs, parts below the whole."""
    found = budget(PACK, NAME, events=150)
    count = found.instructions
    assert count is not None
    assert count.events == 150
    assert found.stack_painted_bytes is not None
    assert 1000 < found.stack_painted_bytes <= (found.image.stack_bound_bytes or 0)
    assert 500 < count.network < count.median <= count.p99_9 <= count.max <= count.bound
    assert count.features_median + count.network <= count.max
    assert count.reasons_max > 0
    assert count.bound < 3 * count.max
    assert len(count.largest) > 3
    assert found.ram_bytes == found.image.ram_bytes + found.stack_bytes


def test_a_release_pack_is_budgeted_with_its_key(tmp_path: Path) -> None:
    """By the key that the run remembers; image, twin and instrument trust it, and no other."""
    key = generate_key()
    program = compile_program("default", PAYMENT)  # more does not fit into 8 kB
    pack = sample.pack_of(PAYMENT, program, sample.network(len(program.feature_names)), key=key)
    (tmp_path / "model.tfpack").write_bytes(pack)
    with pytest.raises(PackError, match="--public-key"):
        budget(tmp_path, NAME, measure=False)
    save_public_key(key.public, tmp_path / "public.key")
    found = budget(tmp_path, NAME, measure=False)
    assert found.image.flash["plan"] + found.image.flash["pack"] == len(pack) + len(key.public)
    image = instrument.build(NAME)
    tx = sample.make_transactions()
    [(tape, scores)] = instrument.event_tapes(
        pack, tx, sample.make_stream(tx), instrument.room(image), limit=40, keys=[key.public]
    )
    counted = instrument.run(image, tape)
    assert (counted.differing, counted.scored) == (0, scores) == (0, 40)
    stranger = instrument.run(image, instrument.Tape().add(instrument.PACK, pack))
    assert stranger.first == f"refused with engine error {code('TFIN_E_KEY')}"
