# SPDX-License-Identifier: Apache-2.0
"""The terminal application compiled for this machine: firmware in a process, no emulator."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tinyfin import cache, paths
from tinyfin.codegen.emit import emit
from tinyfin.errors import ToolError
from tinyfin.progress import stage

__all__ = ["build_host_line", "build_host_reports", "build_host_terminal"]

_DEADLINE_S = 300.0
_KEPT = 32


def build_host_terminal(
    pack: bytes,
    *,
    keys: Sequence[bytes] = (),
    defines: Sequence[str] = (),
    cflags: Sequence[str] = ("-O2",),
) -> Path:
    """Compile application, engine and pack with the machine's C compiler; the program's path.

    ``keys``: public keys that it trusts; ``cflags`` may name more sources. The programs used last
    are kept in the cache, by pack, keys, sources and flags. Start one with
    :class:`tinyfin.wire.links.ProcessLink`. Raises ToolError without a compiler, or with the
    compiler's words.
    """
    compiler = _compiler()
    firmware = paths.firmware_dir()
    monocypher = _monocypher(firmware)
    sources = [
        *sorted((firmware / "src").glob("*.c")),
        *sorted((firmware / "lib" / "tinyfin" / "src").rglob("*.c")),
        *(firmware / "ports" / "host" / name for name in ("port.c", "no_stack.c")),
    ]
    headers = sorted((firmware / "src").glob("*.h"))
    headers += sorted((firmware / "lib" / "tinyfin").rglob("*.h"))
    key = hashlib.sha256(repr((compiler, list(defines), list(cflags), list(keys))).encode() + pack)
    given = [path for flag in cflags if (path := Path(flag)).is_file()]
    for path in (*sources, *headers, *sorted((firmware / "ports").glob("*.h")), *given):
        key.update(path.read_bytes())
    folder = paths.cache_dir() / "host" / key.hexdigest()[:16]
    program = folder / "terminal"
    if cache.used(folder) and program.is_file():
        return program
    generated = folder / "generated"
    emit(pack, generated, keys=keys)
    temporary = folder / f"terminal.{os.getpid()}"
    command = [
        compiler,
        "-std=c99",
        "-Wall",
        "-Wextra",
        *cflags,
        '-DTFIN_TARGET="host"',
        *(f"-D{name}" for name in defines),
        *(
            f"-I{path}"
            for path in (
                generated,
                firmware / "src",
                firmware / "ports",
                firmware / "lib" / "tinyfin" / "include",
                monocypher,
            )
        ),
        *map(str, sources),
        str(generated / "tinyfin_pack.c"),
        str(_monocypher_object(compiler, monocypher)),
        "-o",
        str(temporary),
    ]
    _compile(command)
    temporary.replace(program)
    cache.keep_newest(folder.parent, _KEPT)
    return program


def build_host_line() -> Path:
    """Compile the serial line in front of a program on this machine; the program's path.

    Its source says what it does. Raises ToolError as :func:`build_host_terminal` does.
    """
    compiler = _compiler()
    source = paths.firmware_dir() / "ports" / "host" / "line.c"
    key = hashlib.sha256(compiler.encode() + source.read_bytes()).hexdigest()[:16]
    program = paths.cache_dir() / "host" / f"line-{key}"
    if not cache.used(program):
        program.parent.mkdir(parents=True, exist_ok=True)
        temporary = program.with_name(f"line.{os.getpid()}")
        _compile([compiler, "-std=c99", "-O2", str(source), "-o", str(temporary)])
        temporary.replace(program)
    return program


def build_host_reports() -> Path:
    """Compile the maker of terminals' reports for this machine; the program's path.

    Its source, ``firmware/ports/host/reports.c``, says what it reads and writes. Raises ToolError
    as :func:`build_host_terminal` does.
    """
    compiler = _compiler()
    firmware = paths.firmware_dir()
    monocypher = _monocypher(firmware)
    slots = firmware / "src" / "slots"
    sources = [
        firmware / "ports" / "host" / "reports.c",
        firmware / "src" / "bytes.c",
        *(slots / f"{name}.c" for name in ("audit", "journal", "keys", "report", "slots")),
        *sorted((firmware / "lib" / "tinyfin" / "src").rglob("*.c")),
    ]
    includes = ("ports", "src", "lib/tinyfin/include")
    key = hashlib.sha256(compiler.encode())
    for path in (*sources, *sorted(slots.glob("*.h")), *sorted((firmware / "src").glob("*.h"))):
        key.update(path.read_bytes())
    for path in sorted((firmware / "lib" / "tinyfin").rglob("*.h")):
        key.update(path.read_bytes())
    program = paths.cache_dir() / "host" / f"reports-{key.hexdigest()[:16]}"
    if not cache.used(program):
        program.parent.mkdir(parents=True, exist_ok=True)
        temporary = program.with_name(f"reports.{os.getpid()}")
        command = [compiler, "-std=c11", "-O2", "-DTFIN_PORT_FLASH"]
        command += [f"-I{path}" for path in (*(firmware / name for name in includes), monocypher)]
        command += [*map(str, sources), str(_monocypher_object(compiler, monocypher))]
        _compile([*command, "-o", str(temporary)])
        temporary.replace(program)
    return program


def _compiler() -> str:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ToolError("no C compiler is on PATH; get one with: apt-get install gcc")
    return compiler


def _monocypher_object(compiler: str, source: Path) -> Path:
    """Monocypher, compiled once and without the flags of a test: it is slow to compile."""
    made = paths.cache_dir() / "host" / f"{source.name}.o"
    if not cache.used(made):
        temporary = made.with_suffix(f".{os.getpid()}.o")
        made.parent.mkdir(parents=True, exist_ok=True)
        _compile(
            [
                compiler,
                "-O2",
                "-DBLAKE2_NO_UNROLLING",
                "-c",
                str(source / "monocypher.c"),
                "-o",
                str(temporary),
            ]
        )
        temporary.replace(made)
    return made


def _compile(command: Sequence[str]) -> None:
    try:
        with stage("compiling for this machine"):
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_DEADLINE_S,
            )
    except subprocess.TimeoutExpired as error:
        raise ToolError(
            f"{command[0]} took longer than {_DEADLINE_S:.0f} s; is the machine overloaded?"
        ) from error
    except OSError as error:
        raise ToolError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise ToolError(f"{command[0]} failed:\n{done.stderr[-4000:]}")


def _monocypher(firmware: Path) -> Path:
    """The folder with Monocypher's C, fetched once by the firmware's own script."""
    script = _load(firmware / "scripts" / "monocypher.py")
    try:
        return Path(script.obtain(paths.cache_dir()))
    except script.MonocypherError as error:
        raise ToolError(str(error)) from error


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tinyfin_" + path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
