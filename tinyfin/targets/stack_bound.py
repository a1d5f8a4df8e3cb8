# SPDX-License-Identifier: Apache-2.0
"""A bound of an image's stack: the deepest path through the calls that GCC saw.

The code has no recursion, so ``-fcallgraph-info=su`` shows every path and what each function
takes. It does not see what the kernels written in assembler take: that is read from the image. A
function of the compiler's own library, which reports no stack use, counts ``LIBRARY_STACK_BYTES``.
One interrupt may come at the deepest point: its handler and what the core or its entry saves are
counted on top (all interrupts have one priority, so there is never a second).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

__all__ = ["LIBRARY_STACK_BYTES", "frames", "interrupt_entry_bytes", "stack_bound"]

_NODE = re.compile(r'node: \{ title: "([^"]+)" label: "([^"]*)"')
_EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
_BYTES = re.compile(r"(\d+) bytes \(")
LIBRARY_STACK_BYTES = 64
"""More than any of libgcc's arithmetic pushes."""

_START = ("main", "tfin_port_boot", "tfin_start")
_HANDLERS = ("receive", "tfin_riscv_interrupt")
"""What the ports call their interrupt."""
_TRAP = "tfin_riscv_trap"
"""Where the RISC-V ports save registers for it."""
_ARM_EXCEPTION = 8 * 4 + 4
_ARM_EXCEPTION_VECTOR = 26 * 4 + 4
"""What Cortex-M stacks by itself, and a word to align it (Armv8-M Architecture Reference Manual,
B3.19); the larger when the core has run floating point or vector instructions."""

_KERNELS = "fully_connected"
"""How the files begin whose functions may be assembler."""

_FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
_PUSHED = re.compile(r"\t(v?)(push(?:\.w)?|stmdb\tsp!,|pop(?:\.w)?|ldmia\.w\tsp!,)\s+\{([^}]+)\}")
_MOVED = re.compile(
    r"\t(?:(?P<arm>add|sub)(?:w|\.w)?\tsp, (?:sp, )?#|addm?i\ta1, ?a1, ?"
    r"|addi?\tsp, ?sp, ?)(?P<by>-?\d+)"
)


def frames(listing: str) -> dict[str, int]:
    """By function of a disassembly: how far its instructions, in order, take the stack down.

    For code that goes down at its start and up at its ends, as the kernels do; what it calls is
    not in it. Arm (Thumb), RISC-V and Xtensa, as objdump writes them.
    """
    found: dict[str, int] = {}
    name, depth = "", 0
    for line in listing.splitlines():
        if start := _FUNCTION.match(line):
            name, depth = start[1], 0
        elif pushed := _PUSHED.search(line):
            size = _registers(pushed[3]) * (8 if pushed[1] else 4)
            depth += size if pushed[2].startswith(("push", "stm")) else -size
        elif moved := _MOVED.search(line):
            depth += int(moved["by"]) if moved["arm"] == "sub" else -int(moved["by"])
        found[name] = max(found.get(name, 0), depth)
    return found


def interrupt_entry_bytes(listing: str) -> int:
    """Stack bytes that are taken before an interrupt's handler runs, of an image's disassembly."""
    entry = frames(listing).get(_TRAP)
    if entry is not None:
        return entry
    if "\tpush\t" not in listing:
        return 0
    return _ARM_EXCEPTION_VECTOR if "\tvpush\t" in listing else _ARM_EXCEPTION


def _registers(names: str) -> int:
    """How many registers ``r4, d8-d13`` are."""
    count = 0
    for part in names.split(","):
        first, _, last = part.strip().partition("-")
        count += int(last[1:]) - int(first[1:]) + 1 if last else 1
    return count


def stack_bound(
    folder: Path,
    assembler: Mapping[str, int] = MappingProxyType({}),
    interrupt_entry: int = 0,
    *,
    function: str | None = None,
) -> tuple[int | None, tuple[str, ...], tuple[str, ...]]:
    """Deepest path from startup through GCC's call graphs: bytes, functions, unknown functions.

    folder: the ``.ci`` files of a build. assembler: bytes that functions of the kernels' files
    take, of which GCC sees what it saves itself. interrupt_entry: bytes that an interrupt takes
    before its handler runs; counted when the image has a handler. function: the deepest path from
    this one instead, without interrupts, as a firmware of your own calls it. A cycle is cut where
    it closes: the code has none, a graph may (a call through a pointer). Without ``.ci`` files:
    None and nothing.
    """
    own: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    for path in sorted(folder.glob("*.ci")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for title, label in _NODE.findall(text):
            size = _BYTES.search(label)
            if size:
                frame = assembler.get(_plain(title), 0) if path.name.startswith(_KERNELS) else 0
                own[title] = max(own.get(title, 0), int(size[1]), frame)
        for source, target in _EDGE.findall(text):
            calls.setdefault(source, set()).add(target)
    if not own:
        return None, (), ()
    deepest: dict[str, tuple[int, tuple[str, ...]]] = {}
    unknown: set[str] = set()

    def visit(name: str, above: frozenset[str]) -> tuple[int, tuple[str, ...]]:
        if name in deepest:
            return deepest[name]
        if name not in own:
            unknown.add(_plain(name))
            return LIBRARY_STACK_BYTES, (_plain(name),)
        best: tuple[int, tuple[str, ...]] = (0, ())
        for callee in sorted(calls.get(name, ())):
            if callee not in above:
                best = max(best, visit(callee, above | {name}))
        deepest[name] = (own.get(name, 0) + best[0], (_plain(name), *best[1]))
        return deepest[name]

    if function is not None:
        bytes_, names = visit(function, frozenset())
        return bytes_, names, tuple(sorted(unknown))
    total = 0
    path_names: tuple[str, ...] = ()
    for start in _START:
        if start in own:
            found = visit(start, frozenset())
            total += found[0] if start == "main" else own[start]
            path_names = found[1] if start == "main" else path_names
    handlers = [title for title in own if _plain(title) in _HANDLERS]
    if handlers:
        total += interrupt_entry + max(visit(title, frozenset())[0] for title in handlers)
    return total, path_names, tuple(sorted(unknown))


def _plain(title: str) -> str:
    return title.rpartition(":")[2]
