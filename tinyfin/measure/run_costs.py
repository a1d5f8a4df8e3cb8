# SPDX-License-Identifier: Apache-2.0
"""What a run that was trained, however badly, costs on the target of ``[search]``."""

from __future__ import annotations

from collections.abc import Mapping

from tinyfin.config import Search
from tinyfin.errors import BudgetError
from tinyfin.features.compiler import compile_program
from tinyfin.features.set_sizes import sizes_of
from tinyfin.measure.pack_costs import budget
from tinyfin.pack.container import parse_pack
from tinyfin.quantization.workflow import quantize
from tinyfin.results.trials import Cost
from tinyfin.targets import build as building
from tinyfin.targets import catalogue
from tinyfin.training.run_folder import RunFolder

__all__ = ["SMALLER", "Cost", "cost_of", "largest_text", "pack_parts", "require_tools"]

_EVENTS = 400


SMALLER = {
    "card table": "[features] card_sets, card_ways or card_labels",
    "label ring": "[features] terminal_labels",
    "pending table": "[features] pending",
    "state of the features": "[features] names: fewer, or shorter windows",
    "scratch of the network": "[search] hidden: narrower layers",
    "network": "[search] hidden: fewer or narrower layers",
    "features and calibration": "[features] names: fewer",
}
"""What makes a part of flash or RAM smaller; the other parts are the firmware's own."""


def require_tools(search: Search) -> None:
    """TargetError for a target that is not in the catalogue, ToolError when something is missing
    that :func:`cost_of` needs."""
    building.require_tools(catalogue.get(search.target), emulated=_counts(search))


def cost_of(run: RunFolder, search: Search) -> Cost:
    """Quantize the run, build it for the target and, where instructions are limited, replay
    simulated events.

    Without that the stack is the bound of the compiler's call graph, and no instructions are
    reported. Raises BudgetError for a target that is too small.
    """
    quantize(run)
    flash, ram = pack_parts(run)
    try:
        found = budget(run.path, search.target, events=_EVENTS, measure=_counts(search))
    except BudgetError as error:
        largest = {**flash, **ram}
        raise BudgetError(f"{error}; of the pack, {largest_text(largest)}") from error
    counted = found.instructions
    firmware_ram = {**found.image.ram, "stack": found.stack_bytes}
    return Cost(
        found.image.flash_bytes,
        found.ram_bytes,
        counted.bound if counted else None,
        {
            "flash": {**_rest(found.image.flash, ("plan", "pack")), **flash},
            "RAM with stack": {**_rest(firmware_ram, ("state", "scratch")), **ram},
        },
    )


def _counts(search: Search) -> bool:
    return search.max_instructions is not None


def pack_parts(run: RunFolder) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of what a run's pack takes in flash and in RAM, by the names of :data:`SMALLER`."""
    config = run.config()
    program = compile_program(config.features, config.schema, **config.features.capacities)
    sizes = sizes_of(program)
    pack = parse_pack(run.pack_bytes())
    plan = len(pack.plan or b"")
    arena = pack.network["arena_bytes"] if pack.network else 0
    return (
        {"network": plan, "features and calibration": len(pack.data) - plan},
        {
            "card table": sizes["card_table_bytes"],
            "label ring": sizes["label_ring_bytes"],
            "pending table": sizes["pending_table_bytes"],
            "state of the features": sizes["terminal_state_bytes"],
            "scratch of the network": program.memory_bytes(arena) - sizes["state_bytes"],
        },
    )


def largest_text(parts: Mapping[str, int]) -> str:
    """The largest of some parts in bytes, and the key that makes it, or the next one, smaller."""
    ranked = sorted(parts.items(), key=lambda part: -part[1])
    name, size = ranked[0]
    text = f"the largest part is the {name} with {size:,} B"
    for other, bytes_ in ranked:
        if other in SMALLER:
            if other != name:
                text += f", which no key changes; then the {other} with {bytes_:,} B"
            return f"{text}: make it smaller with {SMALLER[other]}"
    return text


def _rest(parts: dict[str, int], without: tuple[str, ...]) -> dict[str, int]:
    """The firmware's own parts."""
    return {f"firmware's {name}": n for name, n in parts.items() if name not in without}
