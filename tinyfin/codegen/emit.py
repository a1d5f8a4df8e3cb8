# SPDX-License-Identifier: Apache-2.0
"""C for a pack: the pack as an array, its sizes, and the event's struct.

Needs only the standard library, because PlatformIO runs it where tinyfin need not be installed.
The same pack gives the same bytes.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyfin import files
from tinyfin.codegen.pack_layout import FieldLayout, PackLayout, read_layout
from tinyfin.codegen.stacks import STACK_BYTES
from tinyfin.errors import InputError, PackError
from tinyfin.formats import DEVELOPMENT_KEY_HEX, kernel_names

__all__ = ["PREFIX", "c_array", "emit", "file_names", "kernel_lines", "write_text"]

PREFIX = "tinyfin"
"""With which all names begin that another is not given for."""

_C_TYPES = {"i32": "int32_t", "i64": "int64_t", "u64": "uint64_t", "enum": "int32_t"}
_SIZES = {"i32": 4, "i64": 8, "u64": 8, "enum": 4}
_RECORD_HEAD = 8
_ALL = "ALL_FIELDS"
_KEY_BYTES = 32
_MAX_KEYS = 255
_DEVELOPMENT_ALONE = (
    "#if defined(TFIN_RELEASE)",
    '#error "no release opens a pack of the development key: tinyfin sign PACK --key FILE"',
    "#endif",
)
_NOTICE = "/* Written by `tinyfin codegen`; do not edit. */\n/* clang-format off */\n"
_LICENSE = "/* SPDX-License-Identifier: Apache-2.0 */\n"
_CHECKED_INCLUDES = """\
#if defined(__has_include)
#if __has_include("tinyfin.h")
#include "tinyfin.h"
#endif
#endif
"""
_IDENTIFIER = re.compile("[A-Za-z][A-Za-z0-9_]*")
_ENGINE_PREFIX = "tfin"


@dataclass(frozen=True)
class _Names:
    """What the names of one pack's C begin with."""

    of_code: str
    """Of objects, types and files."""

    @property
    def of_macros(self) -> str:
        return self.of_code.upper()

    @property
    def model(self) -> str:
        """Of the .tflite, which has no prefix of its own."""
        return "model_tflite" if self.of_code == PREFIX else f"{self.of_code}_model_tflite"


def file_names(prefix: str = PREFIX) -> tuple[str, ...]:
    """What :func:`emit` writes. Raises InputError for a prefix that no C name can begin with."""
    if not _IDENTIFIER.fullmatch(prefix):
        raise InputError(
            f"prefix {prefix!r}: a C name cannot begin with it; give letters, digits and _, a "
            "letter first"
        )
    if prefix.lower() == _ENGINE_PREFIX:
        raise InputError(
            f"prefix {prefix!r}: names that begin with it are the engine's; give another"
        )
    model = _Names(prefix).model
    return (f"{prefix}_pack.h", f"{prefix}_pack.c", f"{model}.h", f"{model}.c")


def emit(
    pack: bytes | Path,
    out_dir: Path | str,
    *,
    tflite: bytes | None = None,
    keys: Sequence[bytes] = (),
    root_key: bytes | None = None,
    prefix: str = PREFIX,
) -> list[Path]:
    """Write ``tinyfin_pack.h`` and ``.c``, and with ``tflite`` also ``model_tflite.h`` and ``.c``.

    ``pack`` is a pack or the path of one; ``keys`` are public keys of 32 bytes that the terminal
    trusts (``tinyfin_trusted_keys``, for ``tfin_trust``); ``root_key`` is that of the root key,
    whose key manifests and commands it takes (``tinyfin_root_key``). With another ``prefix`` all
    names, of files too, begin with it, so that one firmware can hold several packs. Files that
    would not change are left as they are. Returns the paths. Raises PackError when the bytes are no
    pack that this version knows, InputError as :func:`file_names` and for a prefix that differs
    from that of another pack of the folder in capitals alone.
    """
    header, source, model_header, model_source = file_names(prefix)
    names = _Names(prefix)
    code, macros = names.of_code, names.of_macros
    data = Path(pack).read_bytes() if isinstance(pack, (str, Path)) else bytes(pack)
    layout = read_layout(data)
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_other_case(folder, header, prefix)
    files = {
        header: _header(layout, names, len(keys), root_key is not None),
        source: c_array(
            f'{_CHECKED_INCLUDES}#include "{header}"',
            f"const uint8_t {code}_pack[{macros}_PACK_BYTES] __attribute__((aligned(16)))",
            data,
        )
        + _record(layout, names)
        + _keys(f"{code}_trusted_keys", f"32 * {macros}_TRUSTED_KEYS", keys)
        + (
            _key_array(f"{code}_root_key", "32", (bytes.fromhex(DEVELOPMENT_KEY_HEX),))
            if root_key is None
            else _keys(f"{code}_root_key", "32", (root_key,))
        ),
    }
    if tflite is not None:
        model = names.model
        files[model_header] = _tflite_header(len(tflite), model)
        files[model_source] = c_array(
            f'#include "{model}.h"\n\nconst unsigned int {model}_len = {len(tflite)}u;',
            f"const unsigned char {model}[] __attribute__((aligned(16)))",
            tflite,
        )
    return [write_text(folder / name, text) for name, text in files.items()]


def kernel_lines(mask: int, macros: str = PREFIX.upper()) -> list[str]:
    """Lines of a header that say which network kernels are needed; the build script reads them."""
    return [
        f"/* network kernels: {', '.join(kernel_names(mask)) or 'none'};",
        f" * net.c compiled with -DTFIN_KERNELS={mask}u links no others */",
        f"#define {macros}_KERNELS {mask}u",
    ]


def write_text(path: Path, text: str) -> Path:
    """Write a file unless it already says that, so that nothing is compiled in vain."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        files.write(path, text)
    return path


def c_array(head: str, declaration: str, data: bytes) -> str:
    """A C file: ``head``, then ``declaration`` initialised with the bytes."""
    lines = [
        "    " + " ".join(f"0x{byte:02x}," for byte in data[at : at + 16])
        for at in range(0, len(data), 16)
    ]
    return f"{_LICENSE}{_NOTICE}{head}\n\n{declaration} = {{\n" + "\n".join(lines) + "\n};\n"


def _record(pack: PackLayout, names: _Names) -> str:
    words = ", ".join(f"0x{word:08x}u" for word in pack.record)
    lines = textwrap.wrap(f"{len(pack.record)}u, {words},", 96)
    body = "\n    ".join(lines)
    array = f"{names.of_code}_record[{names.of_macros}_FIELDS + 1]"
    return f"\nconst uint32_t {array} = {{\n    {body}\n}};\n"


def _keys(name: str, size: str, keys: Sequence[bytes]) -> str:
    if not keys:
        return ""
    if len(keys) > _MAX_KEYS or any(len(key) != _KEY_BYTES for key in keys):
        raise ValueError(f"at most {_MAX_KEYS} public keys of {_KEY_BYTES} bytes each")
    if any(key.hex() == DEVELOPMENT_KEY_HEX for key in keys):
        raise PackError(
            "the development key, with which anybody can sign, is among the keys that the image "
            "trusts; leave it out: a development build trusts it anyway"
        )
    return _key_array(name, size, keys)


def _key_array(name: str, size: str, keys: Sequence[bytes]) -> str:
    rows = [
        "    " + " ".join(f"0x{byte:02x}," for byte in key[at : at + 16])
        for key in keys
        for at in (0, 16)
    ]
    return f"\nconst uint8_t {name}[{size}] = {{\n" + "\n".join(rows) + "\n};\n"


def _tflite_header(size: int, model: str) -> str:
    return f"""{_LICENSE}{_NOTICE}#ifndef {model.upper()}_H
#define {model.upper()}_H

/* The int8 network of the pack, for an interpreter such as TensorFlow Lite Micro: {size} bytes. */

#ifdef __cplusplus
extern "C" {{
#endif
extern const unsigned char {model}[]; /* aligned to 16 */
extern const unsigned int {model}_len;
#ifdef __cplusplus
}}
#endif
#endif
"""


def _header(pack: PackLayout, names: _Names, keys: int, root: bool) -> str:
    code, macros = names.of_code, names.of_macros
    prefix = f"{macros}_{pack.schema_name.upper()}"
    _refuse_clashes(pack, prefix)
    trusted = (
        f"extern const uint8_t {code}_trusted_keys[32 * {macros}_TRUSTED_KEYS];"
        if keys
        else f"#define {code}_trusted_keys ((const uint8_t *)0)"
    )
    parts = [
        f"{_LICENSE}{_NOTICE}#ifndef {macros}_PACK_H",
        f"#define {macros}_PACK_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        *_sizes(pack, macros),
        "",
        f"extern const uint8_t {code}_pack[{macros}_PACK_BYTES]; /* aligned to {16} */",
        "",
        "/* what the record below holds, for tfin_trust.record */",
        f"extern const uint32_t {code}_record[{macros}_FIELDS + 1];",
        "",
        "/* public keys of 32 bytes, one after another, for tfin_trust.keys and key_count */",
        f"#define {macros}_TRUSTED_KEYS {keys}",
        trusted,
        "",
        "/* the public key that signs key manifests; 0: it is the development key */",
        f"#define {macros}_ROOT_KEY {int(root)}",
        f"extern const uint8_t {code}_root_key[32];",
        "",
        *_enums(pack, code, prefix),
        *_struct(pack, code, prefix),
        "",
        *_asserts(pack, names),
        *_catalogue(pack, macros),
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "#endif",
        "",
    ]
    return "\n".join(parts)


def _sizes(pack: PackLayout, macros: str) -> list[str]:
    return [
        f'#define {macros}_PACK_ID "{pack.pack_id}"',
        f"#define {macros}_PACK_BYTES {pack.pack_bytes}",
        "/* what tfin_open needs: state and scratch */",
        f"#define {macros}_MEMORY_BYTES {pack.memory_bytes}",
        "/* of these, scratch: it holds nothing between two calls; in it the network's arena */",
        f"#define {macros}_SCRATCH_BYTES {pack.scratch_bytes}",
        f"#define {macros}_ARENA_BYTES {pack.arena_bytes}",
        *_stacks(macros),
        "/* a state image, as tfin_export_state gives it */",
        f"#define {macros}_STATE_BYTES {pack.state_bytes}",
        "/* what tfin_monitor_open needs (tinyfin_monitor.h); 0: nothing to monitor */",
        f"#define {macros}_MONITOR_BYTES {pack.monitor_bytes}",
        *_verify(pack, macros),
        f"#define {macros}_FEATURE_COUNT {pack.features}",
        f"#define {macros}_INPUT_COUNT {pack.inputs}",
        f"#define {macros}_OUTPUT_COUNT {pack.outputs}",
        f"#define {macros}_RECORD_BYTES {pack.record_bytes}",
        f"#define {macros}_FIELDS {len(pack.fields)}",
        "/* transactions that may wait for their outcome; one more pushes the oldest out */",
        f"#define {macros}_PENDING_CAPACITY {pack.pending}",
        "/* cards that are remembered at most; 0: the pack keeps no card table */",
        f"#define {macros}_CARD_CAPACITY {pack.cards}",
        "/* a terminal that has seen a higher one refuses the pack */",
        f"#define {macros}_SECURITY_COUNTER {pack.security_counter}u",
        "/* order of the network's weights: 0 canonical, which every core runs */",
        f"#define {macros}_LAYOUT {pack.layout}",
        *kernel_lines(pack.kernels, macros),
    ]


def _verify(pack: PackLayout, macros: str) -> list[str]:
    """Nothing for a pack that never asks for it, whose C is that of versions before VERIFY."""
    if not pack.verifies:
        return []
    return ["/* the pack advises VERIFY, too: tfin_advice() */", f"#define {macros}_VERIFY 1"]


def _stacks(macros: str) -> list[str]:
    return [
        "/* stack bytes of the deepest call, tfin_open with Monocypher's signature check, by core:",
        " * the bound of GCC's call graph at -Os. What calls it, your progress function and",
        " * interrupts come on top; `tinyfin budget` shows an image's own */",
        *(f"#define {macros}_STACK_{core}_BYTES {size}" for core, size in STACK_BYTES.items()),
    ]


def _enums(pack: PackLayout, code: str, prefix: str) -> list[str]:
    lines = []
    for field in pack.fields:
        if field.type != "enum" or not field.values:
            continue
        lines.append(f"enum {code}_{pack.schema_name}_{field.name} {{")
        lines += [
            f"    {prefix}_{field.name.upper()}_{value.upper()} = {i},"
            for i, value in enumerate(field.values)
        ]
        lines[-1] = lines[-1].rstrip(",")
        lines += ["};", ""]
    return lines


def _struct(pack: PackLayout, code: str, prefix: str) -> list[str]:
    lines = ["/* bits of `present` */"]
    lines += [
        f"#define {prefix}_{field.name.upper()} (UINT32_C(1) << {i})"
        for i, field in enumerate(pack.fields)
    ]
    every = (1 << len(pack.fields)) - 1
    lines += [
        "/* all of them, for a record in which every field is filled */",
        f"#define {prefix}_{_ALL} UINT32_C(0x{every:x})",
        "",
        "/* the event's record: tfin_event.record points to one, record_size is",
        f" * sizeof ({code}_{pack.schema_name}_t) */",
        f"typedef struct {code}_{pack.schema_name} {{",
        "    uint32_t present;",
        "    uint32_t padding;",
    ]
    end = _RECORD_HEAD
    gaps = 0
    for field in pack.fields:
        if field.offset > end:
            lines.append(f"    uint32_t padding_{gaps};")
            gaps += 1
        lines += _about(field, f"enum {code}_{pack.schema_name}_{field.name}")
        lines.append(f"    {_C_TYPES[field.type]} {field.name};")
        end = field.offset + _SIZES[field.type]
    if pack.record_bytes > end:
        lines.append(f"    uint32_t padding_{gaps};")
    return [*lines, f"}} {code}_{pack.schema_name}_t;"]


def _about(field: FieldLayout, enum: str) -> list[str]:
    """A comment that says what goes into a field."""
    about = [
        enum if field.values else "",
        f"unit: {field.unit}" if field.unit else "",
        field.doc,
        "never in a state image" if field.ram_only else "",
    ]
    text = _comment("; ".join(part for part in about if part))
    lines = textwrap.wrap(text, 90, initial_indent="    /* ", subsequent_indent="     * ")
    return [*lines[:-1], f"{lines[-1]} */"] if lines else []


def _asserts(pack: PackLayout, names: _Names) -> list[str]:
    code, macros = names.of_code, names.of_macros
    record = f"{code}_{pack.schema_name}_t"
    whose, more = "", ""
    if code != PREFIX:
        whose = f" ({code}_pack.h)"
        more = f"; add the bits of {macros}_KERNELS"
    checks = [("present", f"offsetof({record}, present) == 0")]
    checks += [
        (
            field.name,
            f"offsetof({record}, {field.name}) == {field.offset} &&\n      "
            f"sizeof((({record} *)0)->{field.name}) == {_SIZES[field.type]}",
        )
        for field in pack.fields
    ]
    checks.append(("sizeof", f"sizeof({record}) == {macros}_RECORD_BYTES"))
    major, minor, patch = (pack.engine_minimum >> shift & 0xFF for shift in (16, 8, 0))
    lines = ["/* compile-time checks: the compiler lays the record out as the pack says */"]
    lines += [
        f"typedef char {code}_check_{name}\n    [({condition}) ? 1 : -1];"
        for name, condition in checks
    ]
    return [
        *lines,
        "/* include tinyfin.h before this file to have these checked too */",
        f"#if defined(TFIN_VERSION) && TFIN_VERSION < {pack.engine_minimum}",
        f'#error "this pack needs version {major}.{minor}.{patch} of the engine, or a newer one"',
        "#endif",
        f"#if defined(TFIN_PACK_FORMAT) && TFIN_PACK_FORMAT < {pack.format}",
        f'#error "this pack is of format {pack.format}; the engine is older"',
        "#endif",
        f"#if defined(TFIN_LAYOUTS) && (TFIN_LAYOUTS >> {macros}_LAYOUT & 1) == 0",
        '#error "no kernel of this build reads the layout of this pack: give the compiler the \\',
        "target's own -mcpu and -mfloat-abi, or take the canonical pack\"",
        "#endif",
        f"#if defined(TFIN_KERNELS) && ({macros}_KERNELS & ~(TFIN_KERNELS + 0u)) != 0",
        f'#error "TFIN_KERNELS leaves out a kernel that this pack{whose} needs{more}"',
        "#endif",
        *(_DEVELOPMENT_ALONE if pack.development else ()),
        "#if defined(TFIN_MINIMUM_SECURITY_COUNTER) && \\",
        f"    {macros}_SECURITY_COUNTER < TFIN_MINIMUM_SECURITY_COUNTER",
        '#error "this pack is older than the firmware allows (TFIN_MINIMUM_SECURITY_COUNTER)"',
        "#endif",
    ]


def _catalogue(pack: PackLayout, macros: str) -> list[str]:
    lines = []
    if pack.feature_names:
        lines += ["", "/* features, in the order of tfin_features():"]
        lines += [f" *   {i:3} {_comment(name)}" for i, name in enumerate(pack.feature_names)]
        lines.append(" */")
    if pack.reasons:
        lines += [
            "",
            "/* X(number, text) for every reason that this pack can give, by the numbers of",
            " * tfin_verdict.reasons. A switch of texts:",
            " *   #define X(number, text) case number: return text;",
            f' *   switch (reason) {{ {macros}_REASONS(X) default: return ""; }} */',
            f"#define {macros}_REASONS(X)"
            + "".join(f" \\\n    X({number}, {_c_string(text)})" for number, text in pack.reasons),
        ]
    return lines


def _c_string(text: str) -> str:
    """A string literal; what is no printable ASCII as octal, which no next character joins."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{escaped}"'


def _comment(text: str) -> str:
    return " ".join(text.split()).replace("*/", "* /").replace("/*", "/ *")


def _refuse_other_case(folder: Path, header: str, prefix: str) -> None:
    """Macros and include guards are in capitals, so prefixes must differ in more than that."""
    for other in folder.glob("*_pack.h"):
        if other.name != header and other.name.lower() == header.lower():
            raise InputError(
                f"prefix {prefix!r}: {other} is of a prefix that differs in capitals alone, and "
                "their macros would be the same; give another, or remove that file"
            )


def _refuse_clashes(pack: PackLayout, prefix: str) -> None:
    names: dict[str, str] = {f"{prefix}_{_ALL}": "the mask of all fields"}
    for field in pack.fields:
        own = f"{prefix}_{field.name.upper()}"
        for name in (own, *(f"{own}_{value.upper()}" for value in field.values)):
            if name in names:
                raise PackError(
                    f"schema {pack.schema_name!r}: {names[name]} and field {field.name!r} "
                    f"both give the C name {name}; rename one"
                )
            names[name] = f"field {field.name!r}"
