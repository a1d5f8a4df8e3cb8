# SPDX-License-Identifier: Apache-2.0
"""Any int8 .tflite on a target: bytes, instructions, sizes of the network alone."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin import cache, paths
from tinyfin.codegen.emit import c_array, kernel_lines, write_text
from tinyfin.errors import InputError, TargetError
from tinyfin.hil.links.session import emulated
from tinyfin.pack.plan import compile_plan, repack
from tinyfin.targets import build as building
from tinyfin.targets import catalogue
from tinyfin.tflite.model import load
from tinyfin.wire.refusals import refused_pack

__all__ = ["BenchResult", "bench"]

_KERNELS_AT, _ARENA_AT, _INPUT_LENGTH_AT, _OUTPUT_LENGTH_AT = 12, 16, 28, 36
_KEPT = 12
# the network's objects are all of the library that this image links, without what the wire needs
_NOT_NETWORK = ("crc32.",)


@dataclass(frozen=True)
class BenchResult:
    """What one network costs on one target, and what it answered. Sizes in bytes."""

    target: str
    model: str
    inferences: int
    outputs: npt.NDArray[np.int8]
    """[n, outputs]"""
    mismatched_bytes: int | None
    """Output bytes that differ from what was expected; None when nothing was."""
    instructions: npt.NDArray[np.int64]
    """Of each inference, counted in the guest around the network's run."""
    code_bytes: int
    plan_bytes: int
    ram_bytes: int
    stack_bytes: int

    @property
    def flash_bytes(self) -> int:
        """Network code and plan, weights included."""
        return self.code_bytes + self.plan_bytes

    def as_dict(self) -> dict[str, object]:
        """The result of ``bench --json``."""
        return {
            "target": self.target,
            "model": self.model,
            "inferences": self.inferences,
            "mismatched_bytes": self.mismatched_bytes,
            "instructions": int(np.median(self.instructions)),
            "instructions_min": int(self.instructions.min()),
            "instructions_max": int(self.instructions.max()),
            "flash_bytes": self.flash_bytes,
            "code_bytes": self.code_bytes,
            "plan_bytes": self.plan_bytes,
            "ram_bytes": self.ram_bytes,
            "stack_bytes": self.stack_bytes,
        }


def bench(
    model: Path,
    target_name: str,
    inputs: npt.NDArray[np.int8],
    expected: npt.NDArray[np.int8] | None = None,
    *,
    progress: Callable[[int], object] | None = None,
) -> BenchResult:
    """Compile ``model`` to a plan, run it on an emulated target on every row of ``inputs``.

    inputs int8 [n, ...] and expected int8 [n, ...] are flattened per row. Raises ModelError for a
    network that the plan does not know, InputError for arrays of other sizes, the errors of the
    build, and TargetError when the target does not answer.
    """
    target = catalogue.get(target_name)
    if target.emulator is None:
        raise TargetError(f"{target.name}: has no emulator; choose one that has (tinyfin targets)")
    building.require_tools(target, emulated=True)
    plan = repack(compile_plan(load(model)), target.layout)
    (arena,) = struct.unpack_from("<I", plan, _ARENA_AT)
    (length,) = struct.unpack_from("<I", plan, _INPUT_LENGTH_AT)
    (out_length,) = struct.unpack_from("<I", plan, _OUTPUT_LENGTH_AT)
    rows = _rows(inputs, length, "--inputs")
    wanted = None if expected is None else _rows(expected, out_length, "--expect")
    if wanted is not None and len(wanted) != len(rows):
        raise InputError(f"--expect has {len(wanted)} rows, --inputs has {len(rows)}")
    place = paths.cache_dir() / "bench" / hashlib.sha256(plan).hexdigest()[:16]
    _write_plan(place, plan)
    cache.used(place)
    cache.keep_newest(place.parent, _KEPT)
    # one folder for the networks of all models: only the plan and what includes it is recompiled
    image = building.build(
        target,
        generated_dir=place,
        app=paths.firmware_dir() / "network_only",
        shared=("bytes.c", "frame.c"),
    )
    code = _network_code(image.map_path)
    outputs = np.zeros((len(rows), out_length), np.int8)
    counts = np.zeros(len(rows), np.int64)
    stack = 0
    with emulated(target, image.elf) as session:
        client = session.client
        hello = client.connect()
        if hello.open_error:
            raise refused_pack(target.name, hello.open_error)
        assert session.instructions is not None
        for i, row in enumerate(rows):
            answer = client.infer(row.tobytes(), measure=True)
            if answer.error:
                raise TargetError(f"{target.name}: row {i} was not run, error {answer.error}")
            outputs[i] = np.frombuffer(answer.output, np.int8)
            counts[i] = session.instructions(answer.ticks)
            stack = max(stack, answer.stack_bytes)
            if progress is not None:
                progress(1)
    differing = None if wanted is None else int(np.count_nonzero(outputs != wanted))
    return BenchResult(
        target.name,
        str(model),
        len(rows),
        outputs,
        differing,
        counts,
        code,
        len(plan),
        arena,
        stack,
    )


def _rows(array: npt.NDArray[np.generic], length: int, option: str) -> npt.NDArray[np.int8]:
    if array.dtype != np.int8 or array.ndim < 1 or not len(array):
        raise InputError(f"{option}: int8 with at least one row is needed, not {array.dtype}")
    rows = np.ascontiguousarray(array).reshape(len(array), -1)
    if rows.shape[1] != length:
        raise InputError(f"{option}: {rows.shape[1]} values per row; the network has {length}")
    return rows


def _write_plan(folder: Path, plan: bytes) -> None:
    kernels, arena, inputs, outputs = (
        struct.unpack_from("<I", plan, at)[0]
        for at in (_KERNELS_AT, _ARENA_AT, _INPUT_LENGTH_AT, _OUTPUT_LENGTH_AT)
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(
        folder / "bench_plan.h",
        "#include <stdint.h>\n"
        f"#define BENCH_PLAN_BYTES {len(plan)}u\n"
        f"#define BENCH_ARENA_BYTES {arena}u\n"
        f"#define BENCH_INPUT_BYTES {inputs}u\n"
        f"#define BENCH_OUTPUT_BYTES {outputs}u\n"
        + "".join(f"{line}\n" for line in kernel_lines(kernels))
        + "extern const uint8_t bench_plan[BENCH_PLAN_BYTES];\n",
    )
    write_text(
        folder / "bench_plan.c",
        c_array(
            '#include "bench_plan.h"',
            "const uint8_t bench_plan[BENCH_PLAN_BYTES] __attribute__((aligned(16)))",
            plan,
        ),
    )


_PIECE = re.compile(
    r"^ \.(?:text|rodata|data)\S*\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+(\S+)$", re.MULTILINE
)


def _network_code(map_path: Path) -> int:
    """Bytes of code and tables that the linker took from the engine's network objects."""
    text = map_path.read_text(encoding="utf-8", errors="replace")
    _, _, linked = text.partition("Linker script and memory map")
    total = 0
    for size, origin in _PIECE.findall(linked):
        name = re.search(r"libtinyfin\.a\(([^)]+)\)|/tinyfin/([^/]+\.o)$", origin)
        if name and not (name[1] or name[2]).startswith(_NOT_NETWORK):
            total += int(size, 16)
    return total
