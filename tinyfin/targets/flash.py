# SPDX-License-Identifier: Apache-2.0
"""Put an image on a target.

An emulated target's flash is a file: ``firmware.elf`` in a folder of the run, which ``replay``
boots. A board is programmed with the first of its flash tools that is on PATH.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from tinyfin import cache, files, paths
from tinyfin.command_templates import filled_in, placeholders
from tinyfin.errors import FlashError, InputError, ToolError
from tinyfin.output_claims import claimed
from tinyfin.pack import layouts
from tinyfin.pack.container import parse_pack
from tinyfin.pack.trust import keys_beside
from tinyfin.targets import system
from tinyfin.targets.build import BuildResult, firmware_build_id
from tinyfin.targets.catalogue import Target

__all__ = [
    "Image",
    "flash_board",
    "flashed_image",
    "how_to_get",
    "require_flash_tool",
    "run_folder",
    "run_pack",
    "store_image",
    "target_pack",
    "what_to_do",
]

FLASH_DEADLINE_S = 180.0
_KEPT_PACKS = 64
_STORE_S = 60.0
_KEPT_IMAGES = 16


class Image(Protocol):
    """What a flash tool is given, in both forms."""

    @property
    def elf(self) -> Path:
        """The image with its symbols."""

    @property
    def binary(self) -> Path:
        """The raw image, from the start of flash."""


def run_pack(run: Path) -> Path:
    """The pack of a run folder, or the pack itself; InputError when there is none."""
    pack = run / "model.tfpack" if run.is_dir() else run
    if not pack.is_file():
        raise InputError(f"{pack}: no such file; make it with `tinyfin quantize {run}`")
    return pack


def target_pack(
    run: Path,
    target: Target,
    keys: Sequence[bytes] | None = None,
    note: Callable[[str], object] = lambda _: None,
) -> Path:
    """The pack of a run in the layout that the target's kernels are fastest with.

    keys: public keys that are trusted; the run's own if None. A pack that had to be repacked is
    in the cache. ``note`` is called when a release pack stays canonical, because it is not signed
    in the target's layout. Raises PackError as :func:`tinyfin.pack.layouts.choose` does.
    """
    path = run_pack(run)
    data = layouts.choose(path, target.layout, keys_beside(run) if keys is None else keys)
    if data == path.read_bytes():
        pack = parse_pack(data)
        if pack.plan is not None and layouts.name_of(pack) != target.layout:
            note(
                f"{target.name}: runs the canonical layout, which is slower here: the pack is not "
                f"signed in layout {target.layout} (tinyfin sign PACK --key FILE does that)"
            )
        return path
    made = paths.cache_dir() / "packs" / f"{parse_pack(data).pack_id.hex()}.tfpack"
    if not cache.used(made):
        made.parent.mkdir(exist_ok=True)
        files.write(made, data)
        cache.keep_newest(made.parent, _KEPT_PACKS)
    return made


def run_folder(run: Path) -> Path:
    """Where the images of a run are: its ``firmware`` folder; for a lone pack, one in the cache."""
    if run.is_dir():
        return run / "firmware"
    digest = hashlib.sha256(run_pack(run).read_bytes()).hexdigest()[:16]
    folder = paths.cache_dir() / "images" / digest
    if not cache.used(folder):
        folder.mkdir(parents=True, exist_ok=True)
        cache.keep_newest(folder.parent, _KEPT_IMAGES)
    return folder


def store_image(build: BuildResult, folder: Path) -> Path:
    """Copy an image to ``folder/<target>/firmware.elf`` (and ``.bin``, ``image.json``), in place of
    an earlier one. Raises InputError when another process keeps that place or the run."""
    place = folder / build.target.name
    elf = build.elf.read_bytes()
    facts: dict[str, object] = {
        "target": build.target.name,
        "build_id": firmware_build_id(),
        "board": _board_digest(build.target),
        "flash_bytes": build.flash_bytes,
        "ram_bytes": build.ram_bytes,
        "sections": build.sections,
        "sha256": hashlib.sha256(elf).hexdigest(),
    }
    with (
        claimed(folder.parent, shared=True, wait_s=_STORE_S),
        claimed(place, wait_s=_STORE_S, make_folder=True),
        files.folder(place) as made,
    ):
        files.write(made / "firmware.bin", build.binary.read_bytes())
        files.write(made / "firmware.elf", elf)
        files.write(made / "image.json", json.dumps(facts, indent=2) + "\n")
    return place / "firmware.elf"


def flashed_image(run: Path, target: Target) -> Path | None:
    """The image that was flashed on an emulated target for this run, or None.

    One of other firmware sources or of another board file than today's counts as none: it may speak
    another protocol, or at other pins.
    """
    elf = run_folder(run) / target.name / "firmware.elf"
    try:
        facts = json.loads((elf.parent / "image.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    now = {"build_id": firmware_build_id(), "board": _board_digest(target)}
    current = isinstance(facts, dict) and all(facts.get(key) == now[key] for key in now)
    return elf if current and elf.is_file() else None


def _board_digest(target: Target) -> str:
    """SHA-256 of the board file and of the port that comes with it."""
    digest = hashlib.sha256(target.board_file.read_bytes())
    if target.own_port is not None:
        for path in sorted(target.own_port.rglob("*.[chS]")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def require_flash_tool(target: Target) -> Sequence[str]:
    """The command of the first flash tool on PATH. Raises FlashError when the board has none,
    ToolError, with a way to get each of the board's tools, when none is on PATH."""
    if not target.flash_commands:
        raise FlashError(
            f"{target.name}: its board file names no flash tool; "
            + ("flash it without --board" if target.emulator else "see docs/boards.md")
        )
    if target.flash_tool is None:
        ways = "; ".join(f"{words[0]}: {how_to_get(words[0])}" for words in target.flash_commands)
        raise ToolError(
            f"{target.name}: no flash tool of this board is on PATH; install one of them ({ways})"
        )
    return target.flash_tool


def how_to_get(tool: str) -> str:
    """How to install a flash tool on this machine."""
    path = paths.firmware_dir() / "platform" / "flash_tools.json"
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")).get(tool, {})
    manager = system.package_manager() or ""
    if manager in known:
        return system.install_words([known[manager]], manager)
    if "pip" in known:
        return f"pip install {known['pip']}"
    return known.get("url", "see its documentation")


def flash_board(target: Target, build: Image, port: str | None = None) -> list[str]:
    """Program a board with the first flash tool on PATH; returns the command that ran.

    port: what ``{port}`` in the command means. Raises InputError when it is needed and not
    given, ToolError when there is no tool, FlashError when the tool failed.
    """
    template = require_flash_tool(target)
    if port is None and "port" in placeholders(template):
        raise InputError(
            f"{target.name}: {template[0]} flashes through the board's serial port; name it with "
            "--port (`tinyfin hil suggest` lists the ports)"
        )
    values = {"elf": str(build.elf), "bin": str(build.binary), "port": port or ""}
    command = filled_in(template, values)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=FLASH_DEADLINE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise FlashError(
            f"{target.name}: `{shlex.join(command)}` did not end within {FLASH_DEADLINE_S:.0f} s; "
            "check cable and power"
        ) from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-6:])
        raise FlashError(
            f"{target.name}: `{shlex.join(command)}` failed with code {done.returncode}; "
            f"{what_to_do(done.stdout)}\n{tail}"
        )
    return command


def what_to_do(output: str) -> str:
    """What to do about a flash tool that failed and printed ``output``."""
    if _NO_ACCESS.search(output):
        return (
            "this user may not open the debugger or the port: copy hil/70-tinyfin.rules to "
            "/etc/udev/rules.d, or join its group (hil/README.md, section 6)"
        )
    if _NOT_FOUND.search(output):
        return "it found no debugger or board: check the cable, the power and what is plugged in"
    return "check cable and power"


_NO_ACCESS = re.compile(
    r"LIBUSB_ERROR_ACCESS|permission denied|access denied|insufficient permissions|EACCES", re.I
)
_NOT_FOUND = re.compile(
    r"couldn't find any|no (?:st-?link|debug probe|device|probe|jlink|j-link)\w*|not found"
    r"|no DFU capable USB device|unable to (?:open|find|match)",
    re.I,
)
