# SPDX-License-Identifier: Apache-2.0
"""The numbers of the formats in Python are those of the C sources: the compiler compares them."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.process import call
from tinyfin import formats
from tinyfin.data.transactions import ACTIONS, RESULTS
from tinyfin.field import commands
from tinyfin.pack import plan
from tinyfin.twin import FLAGS
from tinyfin.wire import messages, slot_frames

FIRMWARE = Path(__file__).parents[2] / "firmware"
LIBRARY, APPLICATION = FIRMWARE / "lib" / "tinyfin", FIRMWARE / "src"


def header(layout: struct.Struct, record: type[tuple[object, ...]]) -> dict[str, int]:
    """Offset of each field by name."""
    return dict(zip(record._fields, formats.offsets(layout), strict=True))  # type: ignore[attr-defined]


PACK = header(formats.PACK_HEADER, formats.PackHeader)
PROGRAM = header(formats.PROGRAM_HEADER, formats.ProgramHeader)
PLAN = header(formats.PLAN_HEADER, formats.PlanHeader)
DECISION = formats.offsets(formats.DECISION_HEAD)
FIELD = formats.offsets(formats.FIELD_ENTRY)
NODE = [
    "opcode",
    "flags",
    "bytes",
    "input",
    "output",
    "inputs",
    "outputs",
    "constants",
    "multiplier_q32",
    "shift1",
    "zero_point",
    "activation_min",
    "activation_max",
    "scratch",
]
EQUAL = {
    "PACK_MAGIC": formats.PACK_MAGIC,
    "DEVELOPMENT": formats.DEVELOPMENT,
    "HEADER_SIZE": formats.PACK_HEADER.size,
    "HEADER_SIGNED": formats.SIGNED_BYTES,
    "HEADER_SIGNED + 0": PACK["signature"],
    "HEADER_DIGEST": PACK["digest"],
    "HEADER_STATE_LAYOUT": PACK["state_layout"],
    "MAX_PACK_BYTES": formats.MAX_PACK_BYTES,
    "AT_FORMAT": PACK["version"],
    "AT_HEADER_SIZE": PACK["header_bytes"],
    "AT_TOTAL": PACK["total_bytes"],
    "AT_ENGINE": PACK["engine"],
    "AT_COUNTER": PACK["security_counter"],
    "AT_FLAGS": PACK["flags"],
    "AT_SIGNATURE_ALGORITHM": PACK["signature_algorithm"],
    "AT_HASH_ALGORITHM": PACK["hash_algorithm"],
    "AT_SECTIONS": PACK["sections"],
    "AT_KEY_ID": PACK["key_id"],
    "AT_SCHEMA": PACK["schema_hash"],
    "AT_PROGRAM": PACK["program_hash"],
    "AT_RESERVED": PACK["reserved"],
    "SECTION_HEADER": formats.SECTION_HEAD.size,
    "TFIN_ALIGN": formats.ALIGN,
    "AT_MODEL": PACK["model_id"],
    "sizeof(tfin_schema)": formats.SCHEMA_HEAD.size,
    "offsetof(tfin_schema, record_bytes)": formats.offsets(formats.SCHEMA_HEAD)[1],
    "sizeof(tfin_field)": formats.FIELD_ENTRY.size,
    "offsetof(tfin_field, type)": FIELD[0],
    "offsetof(tfin_field, flags)": FIELD[1],
    "offsetof(tfin_field, offset)": FIELD[2],
    "offsetof(tfin_field, values)": FIELD[3],
    "offsetof(tfin_field, missing)": FIELD[4],
    "PROG_FORMAT": PROGRAM["format"],
    "PROG_REGISTERS": PROGRAM["registers"],
    "PROG_SCORE_OPS": PROGRAM["score_operators"],
    "PROG_OUTCOME_OPS": PROGRAM["outcome_operators"],
    "PROG_KEPT": PROGRAM["kept"],
    "PROG_FEATURES": PROGRAM["features"],
    "PROG_PENDING": PROGRAM["pending"],
    "PROG_PENDING_SIZE": PROGRAM["pending_entry_bytes"],
    "PROG_TERMINAL_SIZE": PROGRAM["terminal_state_bytes"],
    "PROG_CARD_SLOT": PROGRAM["card_slot_bytes"],
    "PROG_CARD_SETS": PROGRAM["card_sets"],
    "PROG_CARD_WAYS": PROGRAM["card_ways"],
    "PROG_TOKEN_FIELD": PROGRAM["token_field"],
    "PROG_TERMINAL_LABELS": PROGRAM["terminal_labels"],
    "PROG_CARD_LABELS": PROGRAM["card_labels"],
    "PROG_SCORE_AT": PROGRAM["score_at"],
    "PROG_OUTCOME_AT": PROGRAM["outcome_at"],
    "PROG_KEPT_AT": PROGRAM["kept_at"],
    "PROG_FEATURES_AT": PROGRAM["features_at"],
    "PROG_POOL_AT": PROGRAM["pool_at"],
    "PROG_POOL_SIZE": PROGRAM["pool_bytes"],
    "PROG_LEAP": PROGRAM["clock_step_s"],
    "PROG_BOOT_LEAP": PROGRAM["clock_step_in_boot_s"],
    "PROG_HEADER": formats.PROGRAM_HEADER.size,
    "NO_FIELD": formats.NO_FIELD,
    "OP_SIZE": formats.OPERATOR.size,
    "TFIN_PLAN_MAGIC": formats.PLAN_MAGIC,
    "TFIN_PLAN_FORMAT": formats.PLAN_FORMAT,
    "TFIN_PLAN_HEADER_BYTES": formats.PLAN_HEADER.size,
    "TFIN_PLAN_FORMAT_LAYOUT": PLAN["version"],
    "TFIN_PLAN_SIZE": PLAN["plan_bytes"],
    "TFIN_PLAN_KERNELS": PLAN["kernels"],
    "TFIN_PLAN_ARENA_SIZE": PLAN["arena_bytes"],
    "TFIN_PLAN_NODES": PLAN["nodes"],
    "TFIN_PLAN_INPUT": PLAN["input_at"],
    "TFIN_PLAN_INPUT_LENGTH": PLAN["input_length"],
    "TFIN_PLAN_OUTPUT": PLAN["output_at"],
    "TFIN_PLAN_OUTPUT_LENGTH": PLAN["output_length"],
    "TFIN_PLAN_ACCUMULATORS": PLAN["accumulators_at"],
    "TFIN_PLAN_ACCUMULATOR_COUNT": PLAN["accumulators"],
    "DECISION_ONLINE": DECISION[0],
    "DECISION_DECLINE": DECISION[1],
    "DECISION_FLAGS": DECISION[2],
    "DECISION_CONTROL": DECISION[3],
    "DECISION_COLD_EVENTS": DECISION[4],
    "DECISION_COLD_S": DECISION[5],
    "DECISION_COUNT": DECISION[6],
    "DECISION_MORE": DECISION[7],
    "DECISION_HEAD": formats.DECISION_HEAD.size,
    "DECISION_ENTRY": formats.DECISION_ENTRY.size,
    "BELOW_AS_ABOVE": formats.REASON_AS_ABOVE,
    "NONE_BELOW": formats.NO_REASON_BELOW,
    **{
        f"offsetof(tfin_node, {name})": at
        for name, at in zip(NODE, formats.offsets(plan.FULLY_CONNECTED), strict=True)
    },
    "sizeof(tfin_node)": plan.FULLY_CONNECTED.size,
    "TFIN_FC_BYTES": plan.FULLY_CONNECTED.size,
    "TFIN_TABLE_BYTES": plan.TABLE.size,
    **{f"TFIN_TYPE_{name.upper()}": code for code, name in enumerate(formats.FIELD_TYPES)},
    **{f"TFIN_OP_{name}": code for name, code in formats.OPCODES.items()},
}


SIGNED = tuple(messages.Request[x] for x in ("COMMAND", "KEYS", "PROVISION", "NOTICES"))
"""In C these names alone are kinds of what is signed."""
TRANSFER = tuple(slot_frames.Result[x] for x in ("SCHEMA", "SEALING_KEY", "PLAIN"))
"""Results of the transfer over the wire, not of slots or commands."""
WIRE = {
    "TFIN_WIRE_VERSION": messages.VERSION,
    **{
        f"TFIN_{one.name}{'_REQUEST' * (one in SIGNED)}": one.value
        for one in (*messages.Request, *messages.Answer)
    },
    **{f"TFIN_WIRE_{one.name.removesuffix('_TYPE')}": one.value for one in messages.WireError},
    **{f"TFIN_CAN_{one.name}": one.value for one in messages.Capability},
    **{f"TFIN_FLAG_{name}": bit for bit, name in FLAGS.items()},
    **{f"TFIN_ACTION_{name.upper()}": code for code, name in enumerate(ACTIONS)},
    **{f"TFIN_RESULT_{name.upper()}": code for code, name in enumerate(RESULTS)},
    **{f"TFIN_PHASE_{one.name}": one.value for one in slot_frames.Phase},
    **{f"TFIN_JOURNAL_{one.name}": one.value for one in slot_frames.Journal},
    **{f"TFIN_STATE_{one.name}": one.value for one in slot_frames.StateFound},
    **{f"TFIN_SLOTS_{one.name}": one.value for one in slot_frames.Command},
    **{f"TFIN_REASON_{one.name}": one.value for one in slot_frames.Reason},
    **{
        f"TFIN_{'SLOTS' if one < slot_frames.Result.SCHEMA else 'COMMANDS'}_{one.name}": one.value
        for one in slot_frames.Result
        if one not in TRANSFER
    },
    **{f"TFIN_TRANSFER_{one.name}": one.value for one in TRANSFER},
    **{f"TFIN_OP_{one.name}": one.value for one in commands.Opcode},
    "TFIN_SLOT_0": slot_frames.Place.SLOT_0.value,
    "TFIN_SLOT_1": slot_frames.Place.SLOT_1.value,
    "TFIN_SLOT_FACTORY": slot_frames.Place.FACTORY.value,
    "TFIN_SLOT_NONE": slot_frames.Place.NONE.value,
    **{f"offsetof(tfin_stats, {name})": 4 * i for i, name in enumerate(messages.STATS[:10])},
}


def compiled(
    folder: Path, equal: dict[str, int], *included: str
) -> subprocess.CompletedProcess[str]:
    source = folder / "equal.c"
    asserts = "\n".join(
        f'_Static_assert((uint32_t)({name}) == {value}u, "{name}");'
        for name, value in equal.items()
    )
    headers = "\n".join(f'#include "{name}"' for name in included)
    source.write_text(f"#include <stddef.h>\n{headers}\n{asserts}\n")
    folders = (
        LIBRARY / "src",
        LIBRARY / "include",
        APPLICATION,
        APPLICATION / "slots",
        FIRMWARE / "ports",
    )
    includes = [f"-I{path}" for path in folders]
    return call("gcc", "-std=c11", "-fsyntax-only", "-w", *includes, source, code=None)


def test_python_and_c_have_the_same_numbers(tmp_path: Path) -> None:
    done = compiled(tmp_path, EQUAL, "pack.c")
    assert done.returncode == 0, done.stderr
    done = compiled(tmp_path, WIRE, "tinyfin.h", "wire.h", "transfer.h", "state_log.h")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["AT_COUNTER", "TFIN_OP_FOREST", "PROG_LEAP", "DECISION_COUNT"])
def test_another_number_is_noticed(tmp_path: Path, name: str) -> None:
    done = compiled(tmp_path, {**EQUAL, name: EQUAL[name] + 1}, "pack.c")
    assert done.returncode != 0
    assert name in done.stderr


@given(st.lists(st.sampled_from(["B", "b", "H", "h", "I", "i", "q", "3x", "2H", "5s"]), min_size=1))
def test_offsets_are_where_values_lie(parts: list[str]) -> None:
    layout = struct.Struct("<" + "".join(parts))
    found = formats.offsets(layout)
    values = layout.unpack(bytes(i % 251 + 1 for i in range(layout.size)))
    assert len(found) == len(values)
    for at, value in zip(found, values, strict=True):
        first = value[0] if isinstance(value, bytes) else value & 0xFF
        assert first == at % 251 + 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "    int8_t zero_point;\n    int8_t activation_min;\n",
            "    int8_t activation_min;\n    int8_t zero_point;\n",
        ),
        (
            "    uint16_t inputs;   \\\n    uint16_t outputs;",
            "    uint16_t outputs;  \\\n    uint16_t inputs;",
        ),
    ],
)
def test_a_node_of_another_order_does_not_compile(tmp_path: Path, old: str, new: str) -> None:
    """Assembler reads a node by offsets that are numbers."""
    header = (LIBRARY / "src" / "network" / "net_plan.h").read_text()
    assert header.count(old) == 1
    for text, code in ((header, 0), (header.replace(old, new), 1)):
        (tmp_path / "net_plan.h").write_text(text)
        done = compiled(tmp_path, {}, "net_plan.h")
        assert done.returncode == code, done.stderr
        assert ("tfin_node_is_what_assembler_reads" in done.stderr) == bool(code)
