# SPDX-License-Identifier: Apache-2.0
"""What tinyfin.h promises of the C: it compiles everywhere, needs nothing, keeps nothing, ends.

For every target the engine's files are compiled as the header asks; the objects then show what they
refer to, what they would keep in RAM, who calls whom and how deep the stack can get.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.native import HEADER, LIBRARY, ROOT, SOURCES, WARNINGS
from tests.support.process import call, need

ARM, RISCV, XTENSA = "arm-none-eabi-", "riscv64-unknown-elf-", "xtensa-lx106-elf-"
TARGETS: dict[str, tuple[str, tuple[str, ...]]] = {
    **{
        f"cortex-{core}": (ARM, (f"-mcpu=cortex-{core}", "-mthumb", "-mfloat-abi=soft"))
        for core in ("m0", "m3", "m4", "m7", "m33", "m55")
    },
    "rv32imc": (RISCV, ("-march=rv32imc", "-misa-spec=2.2", "-mabi=ilp32")),
    "xtensa-lx106": (XTENSA, ()),
}
LIBC = {"memcpy", "memset", "memcmp"}
PORT = {"tfin_port_hash_begin", "tfin_port_hash_update", "tfin_port_hash_end", "tfin_port_verify"}
# What the compiler itself calls for 64-bit arithmetic that the core lacks. No float among them.
HELPERS = {
    ARM: r"__aeabi_(u?i?divmod|u?idiv|u?ldivmod|lmul|llsl|llsr|lasr)|__gnu_thumb1_case_\w+",
    RISCV: r"__(u?divdi3|u?moddi3|muldi3|ashldi3|ashrdi3|lshrdi3|riscv_(save|restore)_\d+)",
    XTENSA: r"__(u?divdi3|u?moddi3|u?divsi3|u?modsi3|muldi3|mulsi3|ashldi3|ashrdi3|lshrdi3"
    r"|umulsidi3|mulsidi3)",
}
STACK_LIMIT_BYTES = 1024
"""Deepest chain of calls through the engine, without the port's hash and signature check."""


@dataclass
class Built:
    """What the objects of one target say."""

    undefined: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    stack: dict[str, tuple[int, str]] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)


def _plain(name: str) -> str:
    """A function's name in a call graph: without its file and the compiler's suffixes."""
    return re.sub(r"\.(constprop|isra|part|cold)\.\d+", "", name.rpartition(":")[2])


def _built(name: str, folder: Path) -> Built:
    prefix, machine = TARGETS[name]
    need(prefix + "gcc")
    flags = ["-std=c99", "-Os", "-ffreestanding", "-fbuiltin", "-ffunction-sections", *WARNINGS]
    flags += ["-fstack-usage", "-fcallgraph-info=su", *machine]
    flags += [f"-I{LIBRARY / 'include'}", f"-I{ROOT / 'firmware' / 'ports' / 'include'}"]
    built = Built()
    call(prefix + "gcc", *flags, "-c", *SOURCES, cwd=folder)
    for source in SOURCES:
        made = folder / (source.stem + ".o")
        for line in call(prefix + "nm", made).stdout.splitlines():
            kind, symbol = line[-1:] and line.split()[-2:]
            (built.undefined if kind == "U" else built.defined).add(symbol)
        built.sizes[source.name] = {
            section: int(size)
            for section, size in re.findall(
                r"^(\.\S+)\s+(\d+)", call(prefix + "size", "-A", "-d", made).stdout, re.MULTILINE
            )
        }
        graph = made.with_suffix(".ci").read_text()
        node = r'node: \{ title: "([^"]+)" label: "[^"]*\\n(\d+) bytes \(([a-z,]+)\)'
        for title, size, kind in re.findall(node, graph):
            known = built.stack.get(_plain(title), (0, kind))
            built.stack[_plain(title)] = (max(int(size), known[0]), kind)
        for caller, callee in re.findall(
            r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', graph
        ):
            built.calls.setdefault(_plain(caller), set()).add(_plain(callee))
    built.undefined -= built.defined
    return built


@pytest.fixture(scope="module", params=TARGETS)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Built]:
    return request.param, _built(request.param, tmp_path_factory.mktemp(request.param))


def test_needs_nothing_but_three_functions_of_libc_and_the_port(target: tuple[str, Built]) -> None:
    name, built = target
    helper = re.compile(HELPERS[TARGETS[name][0]])
    strange = {s for s in built.undefined - LIBC - PORT if not helper.fullmatch(s)}
    assert not strange
    assert built.undefined >= PORT


def test_keeps_nothing_between_calls(target: tuple[str, Built]) -> None:
    """No globals: all state is in the memory that the caller passes."""
    _, built = target
    for source, sections in built.sizes.items():
        kept = {
            section: size
            for section, size in sections.items()
            if size
            and re.match(r"\.s?(data|bss|tdata|tbss|noinit|COMMON)", section)
            and not section.startswith(".data.rel.ro")
        }
        assert not kept, source


def test_never_calls_itself_and_its_stack_is_bounded(target: tuple[str, Built]) -> None:
    name, built = target
    dynamic = [f for f, (_, kind) in built.stack.items() if "dynamic" in kind]
    assert not dynamic
    assert {"tfin_score", "tfin_open", "tfin_import_state"} <= built.stack.keys()
    depth: dict[str, int] = {}

    def deepest(function: str, path: tuple[str, ...]) -> int:
        assert function not in path, f"recursion: {' -> '.join((*path, function))}"
        if function not in depth:
            below = [deepest(f, (*path, function)) for f in built.calls.get(function, ())]
            depth[function] = built.stack.get(function, (0, ""))[0] + max(below, default=0)
        return depth[function]

    indirect = {f for f, callees in built.calls.items() if "__indirect_call" in callees}
    hooks = {"tfin_feed", "emv_take", "take_expiry"}  # the watchdog's; what makes tokens of cards
    assert indirect <= hooks, "nothing else is called through a pointer"
    worst = max(built.stack, key=lambda f: deepest(f, ()))
    print(f"{name}: {worst} needs {depth[worst]} bytes of stack")
    assert depth[worst] <= STACK_LIMIT_BYTES, worst


def test_the_check_for_recursion_can_fail(tmp_path: Path) -> None:
    """Negative control: a call graph with a cycle, globals and a foreign call is seen."""
    gcc = next((p for p, _ in TARGETS.values() if shutil.which(p + "gcc")), None)
    if gcc is None:
        pytest.skip("no cross compiler is installed")
    code = "int kept; double half(double);\n"
    code += "int f(int n) { kept += n; return n ? f(n - 1) + (int)half(n) : 0; }\n"
    (tmp_path / "bad.c").write_text(code)
    call(gcc + "gcc", "-O0", "-fcallgraph-info=su", "-c", "bad.c", cwd=tmp_path)
    graph = (tmp_path / "bad.ci").read_text()
    assert 'sourcename: "f" targetname: "f"' in graph
    symbols = call(gcc + "nm", tmp_path / "bad.o").stdout
    assert "U half" in symbols
    assert re.search(r"[BDCS] kept", symbols)


@pytest.mark.parametrize(
    ("compiler", "language"), [("cc", "c99"), ("c++", "c++17"), ("clang", "c99"), ("g++", "c++17")]
)
def test_headers_compile_alone(compiler: str, language: str, tmp_path: Path) -> None:
    need(compiler)
    for header in (HEADER.name, "tinyfin_port.h"):
        source = tmp_path / ("alone.cpp" if "+" in language else "alone.c")
        include = f'#include "{header}"\n'
        source.write_text(include * 2 + "int main(void) { return 0; }\n")
        strict = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
        call(compiler, f"-std={language}", *strict, f"-I{HEADER.parent}", "-fsyntax-only", source)
