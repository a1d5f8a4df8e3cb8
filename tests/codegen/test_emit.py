# SPDX-License-Identifier: Apache-2.0
"""Generated C: sizes as the engine says, layout as the pack says, the same bytes every time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.native import Engine
from tests.support.process import call, need
from tinyfin import paths
from tinyfin.codegen.emit import _c_string, emit
from tinyfin.codegen.pack_layout import read_layout
from tinyfin.codegen.stacks import STACK_BYTES
from tinyfin.errors import PackError
from tinyfin.features.catalogue.reasons import REASONS
from tinyfin.features.compiler import compile_program
from tinyfin.features.own_features import define_feature
from tinyfin.pack.container import build_pack, parse_pack
from tinyfin.pack.signing import DEVELOPMENT_KEY, generate_key
from tinyfin.schema import (
    CVMS,
    ENTRY_MODES,
    PAYMENT,
    TRANSACTION_TYPES,
    Field,
    Schema,
    record_offsets,
    record_size,
)
from tinyfin.twin import Twin

WARN = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]

ODD = Schema(
    "till",
    (
        Field("kind", "enum", -1, ("one", "two")),
        Field("big", "i64"),
        Field("flag", "i32"),
        Field("token", "u64"),
        Field("last", "i32", ram_only=True),
    ),
)


def packs() -> dict[str, bytes]:
    return {
        "network": sample.make_pack(),
        "features only": build_pack(PAYMENT, compile_program("default", PAYMENT)),
        "two features": build_pack(
            PAYMENT, compile_program(["amt_log", "amt_dev"], PAYMENT, pending=3)
        ),
    }


@pytest.mark.parametrize("name", ["network", "features only", "two features"])
def test_sizes_and_capacities_are_the_engines(name: str, tmp_path: Path) -> None:
    """The pending table holds so many transactions and no more; the memory is state and scratch."""
    pack = packs()[name]
    emit(pack, tmp_path)
    header = (tmp_path / "tinyfin_pack.h").read_text()
    told = {key: int(n) for key, n in re.findall(r"#define TINYFIN_(\w+) (\d+)\n", header)}
    engine = Engine(pack)
    record = bytes(record_size(PAYMENT))
    for i in range(told["PENDING_CAPACITY"]):
        engine.score(i + 1, 10, record)
    assert engine.stats("pending_overflows") == 0
    engine.score(told["PENDING_CAPACITY"] + 1, 10, record)
    assert engine.stats("pending_overflows") == 1
    body = -(-(told["STATE_BYTES"] - 64) // 16) * 16
    assert told["MEMORY_BYTES"] == engine.memory_size == body + told["SCRATCH_BYTES"]
    network = parse_pack(pack).network
    assert told["ARENA_BYTES"] == (network["arena_bytes"] if network else 0)
    assert told["ARENA_BYTES"] < told["SCRATCH_BYTES"]
    program = parse_pack(pack).program
    assert told["CARD_CAPACITY"] == int.from_bytes(program[22:24], "little") * program[24]
    assert {f"STACK_{core}_BYTES" for core in STACK_BYTES} <= set(told)


@pytest.mark.parametrize("name", ["network", "features only", "two features"])
def test_sizes_equal_the_engines(name: str) -> None:
    pack = packs()[name]
    layout, twin = read_layout(pack), Twin(pack)
    assert layout.memory_bytes == twin.memory_size
    assert layout.state_bytes == twin.state_size
    assert layout.features == twin.feature_count
    assert (layout.inputs, layout.outputs) == (twin.input_count, twin.output_count)
    assert layout.pack_id == twin.pack_id.hex()
    assert layout.record_bytes == record_size(PAYMENT)
    assert tuple(f.offset for f in layout.fields) == record_offsets(PAYMENT)


def test_the_same_pack_gives_the_same_bytes(tmp_path: Path) -> None:
    first = emit(sample.make_pack(), tmp_path / "a", tflite=b"model")
    second = emit(sample.make_pack(), tmp_path / "b", tflite=b"model")
    assert [p.name for p in first] == [
        "tinyfin_pack.h",
        "tinyfin_pack.c",
        "model_tflite.h",
        "model_tflite.c",
    ]
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
    array = re.findall(r"0x([0-9a-f]{2}),", (tmp_path / "a" / "tinyfin_pack.c").read_text())
    assert bytes.fromhex("".join(array)) == sample.make_pack() + DEVELOPMENT_KEY.public


@pytest.mark.parametrize("compiler", ["gcc -std=c99", "clang -std=c99", "g++ -std=c++11"])
@pytest.mark.parametrize("schema", [PAYMENT, ODD], ids=["payment", "odd"])
def test_it_compiles_without_a_warning(compiler: str, schema: Schema, tmp_path: Path) -> None:
    program = compiler.split()
    need(program[0])
    names = ["amt_log"] if schema is PAYMENT else [_feature()]
    pack = build_pack(schema, compile_program(names, schema))
    emit(pack, tmp_path, tflite=b"abc")
    use = tmp_path / "use.c"
    use.write_text(
        '#include "tinyfin.h"\n#include "tinyfin_pack.h"\n#include "model_tflite.h"\n'
        f"tinyfin_{schema.name}_t record;\n"
        f"unsigned use(void);\nunsigned use(void) {{ return TINYFIN_{schema.name.upper()}_"
        f"{schema.fields[1].name.upper()} + model_tflite_len + tinyfin_pack[0]; }}\n"
    )
    include = paths.firmware_dir() / "lib" / "tinyfin" / "include"
    sources = use, tmp_path / "tinyfin_pack.c", tmp_path / "model_tflite.c"
    call(*program, *WARN, f"-I{tmp_path}", f"-I{include}", *sources)


def test_the_header_names_values_units_and_reasons(tmp_path: Path) -> None:
    """A payment pack has them from tinyfin, without a byte of META."""
    pack = sample.make_pack()
    emit(pack, tmp_path)
    decision = parse_pack(pack).decision
    assert decision is not None
    given = sorted(set(decision.reasons) - {0})
    cases = "".join(f"case {number}: " for number in given)
    use = tmp_path / "use.c"
    use.write_text(
        f"""#include "tinyfin_pack.h"
_Static_assert(TINYFIN_PAYMENT_ENTRY_MODE_CHIP == {ENTRY_MODES.index("chip")}, "");
_Static_assert(TINYFIN_PAYMENT_CVM_FAILED == {CVMS.index("failed")}, "");
_Static_assert(TINYFIN_PAYMENT_TRANSACTION_TYPE_REFUND == {TRANSACTION_TYPES.index("refund")}, "");
const char *text(unsigned reason);
const char *text(unsigned reason)
{{
#define X(number, text) case number: return text;
    switch (reason) {{ TINYFIN_REASONS(X) default: return ""; }}
}}
unsigned only(unsigned reason);
unsigned only(unsigned reason) {{ switch (reason) {{ {cases} return 1; default: return 0; }} }}
"""
    )
    call("gcc", "-std=c11", *WARN, f"-I{tmp_path}", use)
    header = (tmp_path / "tinyfin_pack.h").read_text()
    shown = {int(number) for number in re.findall(r"^    X\((\d+), ", header, re.M)}
    assert shown >= set(given)
    assert REASONS[given[0]] in header
    assert "/* unit: minor; amount in minor units" in header


def test_the_mask_of_all_fields_has_every_bit(tmp_path: Path) -> None:
    many = Schema("many", tuple(Field(f"f{i}", "i32") for i in range(32)))
    feature = define_feature("first", {"expression": "f0"}, 9000, {})
    for schema, pack in (
        (PAYMENT, sample.make_pack()),
        (many, build_pack(many, compile_program([feature], many))),
    ):
        prefix = f"TINYFIN_{schema.name.upper()}"
        emit(pack, tmp_path)
        use = tmp_path / "use.c"
        bits = " | ".join(f"{prefix}_{field.name.upper()}" for field in schema.fields)
        use.write_text(
            f'#include "tinyfin_pack.h"\n_Static_assert({prefix}_ALL_FIELDS == ({bits}), "");\n'
        )
        call("gcc", "-std=c11", *WARN, f"-I{tmp_path}", use)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("all_fields",), "the mask of all fields and field 'all_fields'"),
        (("kind", "kind_two"), "field 'kind' and field 'kind_two'"),
    ],
)
def test_fields_of_one_c_name_are_refused(
    names: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    fields = [
        Field(n, "enum", 0, ("one", "two")) if n == "kind" else Field(n, "i32") for n in names
    ]
    schema = Schema("till", tuple(fields))
    feature = define_feature("first", {"expression": names[0]}, 9000, {})
    with pytest.raises(PackError, match=told):
        emit(build_pack(schema, compile_program([feature], schema)), tmp_path)


def test_a_release_with_a_development_pack_does_not_compile(tmp_path: Path) -> None:
    """It would not open one: better said here than at boot."""
    use = tmp_path / "use.c"
    use.write_text(
        '#include "tinyfin_pack.h"\nconst uint8_t *keys(void);\n'
        "const uint8_t *keys(void) { return tinyfin_trusted_keys; }\n"
    )

    def compiled(*defines: str) -> str:
        done = call("gcc", "-std=c99", *WARN, *defines, f"-I{tmp_path}", use, code=None)
        return done.stderr if done.returncode else "compiled"

    emit(sample.make_pack(), tmp_path)
    assert compiled() == "compiled"
    assert "tinyfin sign PACK --key FILE" in compiled("-DTFIN_RELEASE")
    key = generate_key()
    emit(sample.make_pack(key=key), tmp_path, keys=[key.public])
    assert compiled("-DTFIN_RELEASE") == "compiled"


def test_the_development_key_is_no_trusted_key(tmp_path: Path) -> None:
    """A terminal that listed it would open what anybody signs without the mark."""
    with pytest.raises(PackError, match="anybody can sign"):
        emit(sample.make_pack(), tmp_path, keys=[generate_key().public, DEVELOPMENT_KEY.public])


def test_a_root_key_is_compiled_in(tmp_path: Path) -> None:
    emit(sample.make_pack(), tmp_path)
    assert "#define TINYFIN_ROOT_KEY 0\n" in (tmp_path / "tinyfin_pack.h").read_text()
    key = generate_key().public
    emit(sample.make_pack(), tmp_path, root_key=key)
    header, source = ((tmp_path / f"tinyfin_pack.{x}").read_text() for x in "hc")
    assert "#define TINYFIN_ROOT_KEY 1\nextern const uint8_t tinyfin_root_key[32];\n" in header
    rows = source.partition("const uint8_t tinyfin_root_key[32] = {")[2]
    assert bytes(int(x, 16) for x in re.findall("0x([0-9a-f]{2})", rows)) == key
    with pytest.raises(PackError, match="anybody can sign"):
        emit(sample.make_pack(), tmp_path, root_key=DEVELOPMENT_KEY.public)


def test_an_own_schema_takes_its_names_along(tmp_path: Path) -> None:
    schema = Schema(
        "till", (Field("kind", "enum", -1, ("one", "two")), Field("cash", "i64", unit="minor"))
    )
    feature = define_feature("big_value", {"expression": "log2(cash)"}, 9000, {})
    pack = build_pack(schema, compile_program([feature], schema))
    emit(pack, tmp_path)
    header = (tmp_path / "tinyfin_pack.h").read_text()
    assert "TINYFIN_TILL_KIND_TWO = 1" in header
    assert "/* unit: minor */" in header


def test_lines_are_at_most_100_columns(tmp_path: Path) -> None:
    for pack in packs().values():
        for path in emit(pack, tmp_path, tflite=bytes(100), keys=[generate_key().public]):
            long = [line for line in path.read_text().splitlines() if len(line) > 100]
            assert not long, path.name


def test_text_cannot_leave_its_string_or_comment() -> None:
    assert _c_string('a"b\\c?é\n') == r'"a\042b\134c\077\303\251\012"'


def test_a_wrong_layout_does_not_compile(tmp_path: Path) -> None:
    emit(sample.make_pack(), tmp_path)
    header = tmp_path / "tinyfin_pack.h"
    text = header.read_text()
    assert "    int64_t amount_minor;" in text
    header.write_text(text.replace("    int64_t amount_minor;", "    int32_t amount_minor;"))
    source = tmp_path / "tinyfin_pack.c"
    done = call("gcc", "-std=c99", *WARN, f"-I{tmp_path}", source, code=None)
    assert done.returncode != 0
    assert "tinyfin_check_" in done.stderr


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no tinyfin pack"):
        emit(b"x" * 500, tmp_path)
    with pytest.raises(PackError, match="header says"):
        emit(sample.make_pack()[:-16], tmp_path)


def test_it_needs_only_the_standard_library(tmp_path: Path) -> None:
    pack = tmp_path / "p.tfpack"
    pack.write_bytes(sample.make_pack())
    root = Path(__file__).parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "sys.modules['fcntl'] = sys.modules['termios'] = None  # as on Windows\n"
        "from tinyfin.codegen.emit import emit\n"
        f"from pathlib import Path\nemit(Path({str(pack)!r}), {str(tmp_path / 'out')!r})\n"
    )
    call("python3", "-I", "-S", "-c", code)
    assert (tmp_path / "out" / "tinyfin_pack.c").is_file()


def _feature() -> object:
    return define_feature("big_value", {"expression": "log2(big)"}, 9000, {})
