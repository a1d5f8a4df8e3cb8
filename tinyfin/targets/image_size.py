# SPDX-License-Identifier: Apache-2.0
"""What an image is made of: flash and RAM by part, from the link map, and a bound of its stack.

The parts of flash add up to the image's size exactly: what no object accounts for is alignment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tinyfin.codegen.pack_layout import read_layout
from tinyfin.targets.build import BuildResult, disassembly
from tinyfin.targets.stack_bound import frames, interrupt_entry_bytes, stack_bound

__all__ = ["FLASH_PARTS", "RAM_PARTS", "Contributor", "ImageBudget", "image_budget"]

FLASH_PARTS = (
    "engine",
    "network",
    "plan",
    "pack",
    "signature check",
    "slots and journal",
    "application",
    "startup",
    "compiler library",
    "alignment",
)
RAM_PARTS = (
    "state",
    "scratch",
    "frame buffers",
    "engine handle",
    "monitor",
    "slots and journal",
    "application",
    "startup",
)
LIBRARY_FLASH = ("engine", "network", "plan", "pack", "signature check")
LIBRARY_RAM = ("state", "scratch", "engine handle")

_SECTION = re.compile(
    r"^ (\.(?:loader|vectors|init|text|literal|s?rodata|s?data|s?bss|boot_seed|ram_code|ARM\.ex)\S*"
    r"|COMMON)"
    r"\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)[ \t]+(\S.*)$",
    re.MULTILINE,
)
_FLASH = (
    ".loader",
    ".vectors",
    ".init",
    ".text",
    ".literal",
    ".rodata",
    ".srodata",
    ".ram_code",
    ".data",
    ".sdata",
    ".ARM.ex",
)
_RAM = (".ram_code", ".data", ".sdata", ".bss", ".sbss", "COMMON", ".boot_seed")
_NETWORK = ("net", "fully_connected")
_FRAME_BUFFERS = ("rx_frame", "rx_memory", "tx_frame", "answers")
# called by the slots alone, or read by them
_SLOTS = (
    "seal_of",
    "tfin_erase_card",
    "tfin_erase_value",
    "tfin_security_counter",
    "tfin_verify",
    "tfin_verify_header",
    "tinyfin_root_key",
    "verify_trusted",
)
_MONITOR_RAM = ("monitor", "monitor_counts")
_SLOTS_RAM = ("audit", "reports", "transfer", "trust")
_LARGEST = 8
_IMAGE_HEAD_BYTES = 64  # of a state image, which memory does not hold


@dataclass(frozen=True)
class Contributor:
    """A function or table, its part and its bytes."""

    name: str
    part: str
    bytes: int


@dataclass(frozen=True)
class ImageBudget:
    """Bytes by part. ``flash`` adds up to the image, ``ram`` to its variables (no stack)."""

    flash: dict[str, int]
    ram: dict[str, int]
    largest_flash: tuple[Contributor, ...]
    largest_ram: tuple[Contributor, ...]
    stack_bound_bytes: int | None
    """Deepest path by the compiler's call graph; None without its files."""
    stack_path: tuple[str, ...]
    unknown_stack: tuple[str, ...]
    """Functions on some path whose stack the compiler does not report (its own library's)."""

    @property
    def flash_bytes(self) -> int:
        """The image."""
        return sum(self.flash.values())

    @property
    def ram_bytes(self) -> int:
        """Its variables."""
        return sum(self.ram.values())

    @property
    def library_flash_bytes(self) -> int:
        """What a firmware of your own links of it."""
        return sum(self.flash[part] for part in LIBRARY_FLASH)

    @property
    def library_ram_bytes(self) -> int:
        """The engine's memory."""
        return sum(self.ram[part] for part in LIBRARY_RAM)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""

        def rows(found: Iterable[Contributor]) -> list[dict[str, object]]:
            return [{"name": c.name, "part": c.part, "bytes": c.bytes} for c in found]

        return {
            "flash": {**self.flash, "total": self.flash_bytes},
            "ram": {**self.ram, "total": self.ram_bytes},
            "library_flash_bytes": self.library_flash_bytes,
            "library_ram_bytes": self.library_ram_bytes,
            "largest_flash": rows(self.largest_flash),
            "largest_ram": rows(self.largest_ram),
            "stack_bound_bytes": self.stack_bound_bytes,
            "stack_path": list(self.stack_path),
            "stack_unknown": list(self.unknown_stack),
        }


def image_budget(result: BuildResult, pack: Path | None = None) -> ImageBudget:
    """Take an image of the terminal application apart; ``pack`` is the one in it."""
    flash = dict.fromkeys(FLASH_PARTS, 0)
    ram = dict.fromkeys(RAM_PARTS, 0)
    found_flash, found_ram = [], []
    for section, size, origin in _pieces(result.map_path):
        name = section.split(".", 2)[2] if section.count(".") > 1 else section
        part = _part(origin, name)
        if section.startswith(_FLASH):
            flash[part] += size
            found_flash.append(Contributor(name, part, size))
        if section.startswith(_RAM):
            kind = _ram_part(name, part)
            ram[kind] += size
            found_ram.append(Contributor(name, kind, size))
    plan_bytes = _split_pack(flash, ram, found_ram, pack)
    flash["alignment"] = result.flash_bytes - sum(flash.values())
    ram["startup"] += result.ram_bytes - sum(ram.values())
    if plan_bytes:
        found_flash = [c for c in found_flash if c.part != "pack"]
        found_flash += [Contributor("plan", "plan", plan_bytes)]
        found_flash += [Contributor("rest of the pack", "pack", flash["pack"])]
    code = disassembly(result)
    bound, path, unknown = stack_bound(
        result.build_dir / "stack", frames(code), interrupt_entry_bytes(code)
    )
    return ImageBudget(flash, ram, _largest(found_flash), _largest(found_ram), bound, path, unknown)


def _largest(found: list[Contributor]) -> tuple[Contributor, ...]:
    return tuple(sorted(found, key=lambda c: (-c.bytes, c.name))[:_LARGEST])


def _pieces(map_path: Path) -> list[tuple[str, int, str]]:
    """(section, bytes, object) of what the linker took."""
    text = map_path.read_text(encoding="utf-8", errors="replace")
    _, _, linked = text.partition("Linker script and memory map")
    return [
        (section, int(size, 16), origin)
        for section, _, size, origin in _SECTION.findall(linked)
        if int(size, 16) and not origin.startswith("load address")
    ]


def _part(origin: str, section: str) -> str:
    member = re.search(r"lib(\w+)\.a\(([^)]+)\)", origin)
    if member and member[1] == "gcc":
        return "compiler library"
    name = member[2] if member else Path(origin).name
    if "monocypher" in name:
        return "signature check"
    inside = origin.rpartition("/build/")[2]  # the cache's own folder may be called tinyfin too
    if "/slots/" in inside or section in _SLOTS:
        return "slots and journal"
    if (member and member[1] == "tinyfin") or "/tinyfin/" in inside:
        return "network" if name.startswith(_NETWORK) else "engine"
    if "tinyfin_pack" in name:
        return "pack"
    return "startup" if "/port/" in origin else "application"


def _ram_part(name: str, part: str) -> str:
    name = name.split(".")[-1] if name.rpartition(".")[2].isalpha() else name.split(".")[0]
    if name == "memory":
        return "state"
    if name in _FRAME_BUFFERS:
        return "frame buffers"
    if name == "engine":
        return "engine handle"
    if name in _MONITOR_RAM:
        return "monitor"
    if name in _SLOTS_RAM or part == "slots and journal":
        return "slots and journal"
    return "startup" if part == "startup" else "application"


def _split_pack(
    flash: dict[str, int], ram: dict[str, int], found_ram: list[Contributor], pack: Path | None
) -> int:
    """Plan out of the pack, scratch out of the state; returns the plan's bytes."""
    if pack is None:
        return 0
    from tinyfin.pack.container import parse_pack

    data = pack.read_bytes()
    layout = read_layout(data)
    plan = parse_pack(data).plan
    size = 0 if plan is None else len(plan)
    flash["plan"] += size
    flash["pack"] -= size
    body = layout.state_bytes - _IMAGE_HEAD_BYTES
    state = min(ram["state"], -(-body // 16) * 16)
    scratch = ram["state"] - state
    ram["state"], ram["scratch"] = state, scratch
    for at, found in enumerate(found_ram):
        if found.part == "state":
            found_ram[at] = Contributor("state", "state", state)
            found_ram.append(Contributor("scratch", "scratch", scratch))
            break
    return size
