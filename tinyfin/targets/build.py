# SPDX-License-Identifier: Apache-2.0
"""Build firmware with PlatformIO and read the image's sizes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyfin import cache, files, optional_packages, paths
from tinyfin.errors import BudgetError, InputError, TinyfinError, ToolError
from tinyfin.pack.trust import keys_beside
from tinyfin.progress import stage
from tinyfin.targets import catalogue, system
from tinyfin.targets.build_inputs import fingerprint
from tinyfin.targets.catalogue import Target

__all__ = [
    "BuildResult",
    "Symbol",
    "build",
    "disassembly",
    "require_tools",
    "symbol_addresses",
    "symbols",
]

DEADLINE_S = 600.0
LOCK_DEADLINE_S = 600.0
_KEPT_BUILDS = 128
_KEPT_IMAGES = 12

_FLASH_SECTIONS = (".loader", ".vectors", ".text", ".rodata", ".ARM.extab", ".ARM.exidx", ".data")
_RAM_SECTIONS = (".boot_seed", ".data", ".bss")
_DOES_NOT_FIT = re.compile(
    r"region \S+ overflowed by \d+ bytes|section \S+ will not fit in region \S+"
    r"|no room left for the stack: variables fill the RAM"
    r"|The \w+ size \(\d+ bytes\) is greater than maximum allowed"
)
_TOLD = re.compile(r"\*\*\* \[|\berror: |Error: |undefined reference|multiple definition")
# PlatformIO's own toolchains, used when PATH has none
_PACKAGES = {
    "arm": "toolchain-gccarmnoneeabi",
    "riscv": "toolchain-riscv",
    "xtensa": "toolchain-xtensa",
}


@dataclass(frozen=True)
class BuildResult:
    """An image. Sizes in bytes; ``ram_bytes`` are its variables, the stack is not among them.

    ``build_dir`` holds ``firmware.elf``, ``.bin`` and ``.map``, and in ``stack`` a ``.su`` file of
    stack use per source. It is named after the image's content: no later build changes it.
    """

    target: Target
    elf: Path
    flash_bytes: int
    ram_bytes: int
    sections: dict[str, int]
    build_dir: Path
    log_path: Path

    @property
    def binary(self) -> Path:
        """The raw image, from the start of flash."""
        return self.elf.with_suffix(".bin")

    @property
    def map_path(self) -> Path:
        """The linker's map."""
        return self.elf.with_suffix(".map")


@dataclass(frozen=True)
class Symbol:
    """One symbol of an image: ``kind`` is nm's letter in lower case: t text, r read-only data,
    d data, b zeroed data."""

    name: str
    kind: str
    bytes: int


_known: dict[tuple[object, ...], BuildResult] = {}
"""What this process has built, by all that it was made of."""


def build(
    target: Target | str,
    *,
    generated_dir: Path | None = None,
    pack: Path | str | None = None,
    keys: Sequence[bytes] | None = None,
    root_key: bytes | None = None,
    app: Path | None = None,
    shared: Sequence[str] = (),
    defines: Sequence[str] = (),
    flags: Sequence[str] = (),
    code_of: str | None = None,
    kernels: str = "pack",
    build_dir: Path | None = None,
    deadline_s: float = DEADLINE_S,
) -> BuildResult:
    """Build the terminal application, or ``app``, for a target.

    generated_dir: C written by ``tinyfin codegen``; or pack: a pack from which it is generated,
        "none" for an image without one; with neither, the reference pack of ``platformio.ini``.
    keys: public keys of 32 bytes that the image trusts, with the development key; if None, the one
        that is next to the pack (``public.key``). C of generated_dir has its own.
    root_key: the public key of 32 bytes whose key manifests and commands the image takes.
    app: a folder of C sources built instead of ``firmware/src``.
    shared: names of files of ``firmware/src`` that it is built with.
    defines: ``NAME`` or ``NAME=value``, for all sources.
    flags: more compiler flags, for all sources.
    code_of: another target whose instruction set is compiled for: an older core's code on a
        newer core's machine, which has more memory.
    kernels: the network kernels to link: "pack" (those that the pack needs), "fc"
        (FULLY_CONNECTED and tables; a pack that needs others is refused by name) or "all".
    build_dir: a folder of its own for PlatformIO's files and the image; by default one in the
        cache per target, app and defines, so that another pack compiles only what includes it.
        Builds in the same folder wait for one another, others run at the same time.

    What this process has built before is not built again while nothing that it is made of changes.

    Raises ToolError (a tool is missing or the compiler failed, with the end of the log),
    BudgetError (the image does not fit the target), InputError (a path does not exist).
    """
    chosen = catalogue.get(target) if isinstance(target, str) else target
    _require_tools(chosen)
    settings = _settings(generated_dir, pack, app, [*(f"-D{d}" for d in defines), *flags])
    settings["TINYFIN_KERNELS"] = kernels
    settings["TINYFIN_SHARED"] = " ".join(shared)
    if keys is None:
        keys = keys_beside(pack) if pack not in (None, "none") else ()
    settings["TINYFIN_PUBLIC_KEYS"] = " ".join(key.hex() for key in keys)
    settings["TINYFIN_ROOT_KEY"] = "" if root_key is None else root_key.hex()
    if code_of is not None:
        other = catalogue.get(code_of)
        settings["TINYFIN_CODE_OF"] = other.name
        if other.is_own:
            settings["PLATFORMIO_BOARDS_DIR"] = str(other.board_file.parent)
    if chosen.is_own:
        settings["PLATFORMIO_BOARDS_DIR"] = str(chosen.board_file.parent)
        settings["TINYFIN_PORT_DIR"] = str(chosen.own_port or "")  # for the fingerprint
    workspace = build_dir or paths.cache_dir() / "builds" / f"{chosen.name}-{_kind(settings)}"
    workspace = workspace.resolve()
    workspace.mkdir(parents=True, exist_ok=True)
    if build_dir is None:
        cache.used(workspace)
        cache.keep_newest(workspace.parent, _KEPT_BUILDS)
    log_path = workspace / f"{chosen.name}.log"
    made_of = (chosen.name, workspace, fingerprint(settings))
    known = _known.get(made_of)
    if known is not None and cache.used(known.build_dir):
        return known
    with stage(f"building for {chosen.name}"), _locked(workspace / "lock", LOCK_DEADLINE_S):
        code = _run_platformio(chosen, workspace, settings, log_path, deadline_s)
        if code != 0:
            raise _failure(chosen, log_path)
        _known[made_of] = _measure(chosen, workspace, log_path)
    return _known[made_of]


def symbols(result: BuildResult) -> list[Symbol]:
    """The image's symbols that have a size, largest first."""
    lines = _tool(result.target.tool("nm"), "--size-sort", "-r", str(result.elf)).splitlines()
    found = []
    for line in lines:
        size, kind, name = line.split(maxsplit=2)
        found.append(Symbol(name, kind.lower(), int(size, 16)))
    return found


def symbol_addresses(result: BuildResult) -> dict[str, int]:
    """Addresses of the image's symbols, the linker script's too."""
    found = {}
    for line in _tool(result.target.tool("nm"), str(result.elf)).splitlines():
        words = line.split()
        if len(words) == 3:
            found[words[2]] = int(words[0], 16)
    return found


def disassembly(result: BuildResult) -> str:
    """The image's code as objdump writes it."""
    return _tool(result.target.tool("objdump"), "-d", str(result.elf))


def _settings(
    generated_dir: Path | None, pack: Path | str | None, app: Path | None, flags: Sequence[str]
) -> dict[str, str]:
    """Environment variables that carry the arguments to PlatformIO and its scripts."""
    settings = {"TINYFIN_GENERATED": "", "PLATFORMIO_BUILD_FLAGS": ""}
    if generated_dir is not None and pack is not None:
        raise ValueError("give generated_dir or pack, not both")
    if generated_dir is not None:
        settings["TINYFIN_GENERATED"] = str(_existing(generated_dir))
    if pack is not None:
        settings["TINYFIN_PACK"] = pack if pack == "none" else str(_existing(Path(pack)))
    if app is not None:
        settings["PLATFORMIO_SRC_DIR"] = str(_existing(app))
    settings["PLATFORMIO_BUILD_FLAGS"] = " ".join(flags)
    return settings


def _existing(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return path.resolve()


def _kind(settings: dict[str, str]) -> str:
    """Names the builds that share objects: everything but the pack."""
    keys = (
        "PLATFORMIO_SRC_DIR",
        "PLATFORMIO_BUILD_FLAGS",
        "TINYFIN_CODE_OF",
        "PLATFORMIO_BOARDS_DIR",
    )
    # PlatformIO's link to the platform stays with the checkout that made it
    shared = [str(paths.project_dir()), *(settings.get(key, "") for key in keys)]
    return hashlib.sha256("\0".join(shared).encode()).hexdigest()[:12]


def require_tools(target: Target, *, emulated: bool = False) -> None:
    """ToolError when something is missing that builds for ``target``, or that boots it here."""
    _require_tools(target)
    why = target.emulator.why_missing() if emulated and target.emulator is not None else ""
    if why:
        raise ToolError(f"{target.name}: {why}; `tinyfin doctor` says how to install it")


def _environment_of(target: Target, workspace: Path, project: Path) -> list[str]:
    """PlatformIO's options that choose the target: the project has no ``[env]`` for an own one."""
    options = ["-e", target.name]
    if target.is_own:
        conf = workspace / "platformio.ini"
        text = f"[platformio]\nextra_configs = {project / 'platformio.ini'}\n\n"
        files.write(conf, f"{text}[env:{target.name}]\nboard = {target.name}\n")
        options += ["-c", str(conf)]
    return options


def _require_tools(target: Target) -> None:
    optional_packages.require(("platformio", "SCons"), "for building firmware")
    core = Path(os.environ.get("PLATFORMIO_CORE_DIR") or Path.home() / ".platformio")
    own = core / "packages" / _PACKAGES[target.architecture]
    if shutil.which(target.compiler) is None and not own.is_dir():
        program = next(p for p in system.PROGRAMS if p.name == target.compiler)
        raise ToolError(
            f"{target.compiler} is not on PATH ({program.why}); get it with: "
            f"{system.install_command([program])}"
        )


def _run_platformio(
    target: Target, workspace: Path, settings: dict[str, str], log_path: Path, deadline_s: float
) -> int:
    project = paths.project_dir()
    ours = (
        "PLATFORMIO_BUILD_DIR",
        "PLATFORMIO_SRC_DIR",
        "PLATFORMIO_BOARDS_DIR",
        "TINYFIN_PACK",
        "TINYFIN_CODE_OF",
    )
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    environment.update(
        settings,
        PLATFORMIO_WORKSPACE_DIR=str(workspace),
        PLATFORMIO_SETTING_ENABLE_TELEMETRY="no",
        PLATFORMIO_DISABLE_UPGRADE_CHECK="true",
        PLATFORMIO_NO_ANSI="true",
        TINYFIN_CACHE=str(paths.cache_dir().resolve()),
    )
    command = [sys.executable, "-m", "platformio", "run", "-d", str(project)]
    command += _environment_of(target, workspace, project)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            return process.wait(deadline_s)
        except subprocess.TimeoutExpired as error:
            raise ToolError(
                f"building for {target.name} took longer than {deadline_s:.0f} s; "
                f"the log is {log_path}"
            ) from error
        finally:
            if process.poll() is None or process.returncode < 0:  # whoever it has started lives on
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _failure(target: Target, log_path: Path) -> TinyfinError:
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line for line in lines if _TOLD.search(line)]
    shown = "\n".join(told[:12] or lines[-12:])
    misfits = [match[0] for line in lines if (match := _DOES_NOT_FIT.search(line))]
    if misfits:
        return BudgetError(
            f"{target.name}: the firmware does not fit ({target.flash_bytes} B of flash, "
            f"{target.ram_bytes} B of RAM): {misfits[-1]}; choose a smaller pack or a larger "
            f"target; the log is {log_path}"
        )
    return ToolError(f"{target.name}: the build failed; the log is {log_path}\n{shown}")


def _keep(workspace: Path, name: str) -> Path:
    """Copy the image to a folder named after its content; returns that folder."""
    built = workspace / "build" / name
    digest = hashlib.sha256((built / "firmware.elf").read_bytes()).hexdigest()[:16]
    place = workspace / "images" / digest
    if not cache.used(place):
        with tempfile.TemporaryDirectory(dir=workspace) as temporary:
            fresh = Path(temporary) / "image"
            (fresh / "stack").mkdir(parents=True)
            for suffix in (".elf", ".bin", ".map"):
                shutil.copy2(built / ("firmware" + suffix), fresh)
            for usage in (*built.rglob("*.su"), *built.rglob("*.ci")):
                shutil.copy2(usage, fresh / "stack")
            place.parent.mkdir(exist_ok=True)
            fresh.rename(place)
        cache.keep_newest(place.parent, _KEPT_IMAGES)
    return place


def _measure(target: Target, workspace: Path, log_path: Path) -> BuildResult:
    folder = _keep(workspace, target.name)
    elf = folder / "firmware.elf"
    sections = {}
    for line in _tool(target.tool("size"), "-A", "-d", str(elf)).splitlines():
        match = re.match(r"(\.\S+)\s+(\d+)\s+\d+", line)
        if match:
            sections[match[1]] = int(match[2])
    return BuildResult(
        target=target,
        elf=elf,
        flash_bytes=sum(sections.get(name, 0) for name in _FLASH_SECTIONS),
        ram_bytes=sum(sections.get(name, 0) for name in _RAM_SECTIONS),
        sections=sections,
        build_dir=folder,
        log_path=log_path,
    )


def _tool(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(f"{command[0]}: {error}") from error
    return done.stdout


@contextlib.contextmanager
def _locked(path: Path, deadline_s: float) -> Iterator[None]:
    """Hold a file lock; ToolError when another build holds it for longer than the deadline."""
    deadline = time.monotonic() + deadline_s
    with cache.open_lock(path) as file:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                raise ToolError(f"{path}: another build has held this folder for too long")
            time.sleep(0.1)
        yield


def firmware_build_id() -> str:
    """What HELLO says of firmware that is built from these sources. Raises ToolError."""
    script = paths.firmware_script("build_id")
    return str(script.build_id(paths.firmware_dir()))
