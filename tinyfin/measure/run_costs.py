# SPDX-License-Identifier: Apache-2.0
"""What a run that was trained, however badly, would cost on a target: for ``train --search``."""

from __future__ import annotations

from collections.abc import Callable

from tinyfin.errors import BudgetError
from tinyfin.features.compiler import compile_program
from tinyfin.features.set_sizes import sizes_of
from tinyfin.measure.pack_costs import Budget, budget
from tinyfin.pack.container import parse_pack
from tinyfin.quantization.workflow import quantize
from tinyfin.targets import build as building
from tinyfin.targets import catalogue
from tinyfin.training.run_folder import RunFolder
from tinyfin.training.search import Cost, largest_text

__all__ = ["measured_on", "pack_parts"]

_EVENTS = 400


def measured_on(
    target: str, *, count: bool, note: Callable[[str], object] = lambda _: None
) -> Callable[[RunFolder], Cost]:
    """Quantizes a run and builds it for ``target``; with ``count`` replays simulated events too.

    Without ``count`` the stack is the bound of the compiler's call graph, and no instructions are
    reported.

    Raises TargetError at once for a target that is not in the catalogue, ToolError when something
    is missing that builds for it or boots it.
    """
    building.require_tools(catalogue.get(target), emulated=count)

    def cost(run: RunFolder) -> Cost:
        quantize(run)
        flash, ram = pack_parts(run)
        try:
            found = budget(run.path, target, events=_EVENTS, measure=count, note=note)
        except BudgetError as error:
            largest = {**flash, **ram}
            raise BudgetError(f"{error}; of the pack, {largest_text(largest)}") from error
        counted = found.instructions
        return Cost(
            found.image.flash_bytes,
            found.ram_bytes,
            counted.bound if counted else None,
            {
                "flash": {**_rest(found.image.flash, ("plan", "pack")), **flash},
                "RAM with stack": {**_rest(_ram(found), ("state", "scratch")), **ram},
            },
        )

    return cost


def pack_parts(run: RunFolder) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of what a run's pack takes in flash and in RAM, by the names of ``search.SMALLER``."""
    config = run.config()
    program = compile_program(config.features, config.schema, **config.features.capacities)
    sizes = sizes_of(program)
    pack = parse_pack(run.pack_bytes())
    plan = len(pack.plan or b"")
    arena = int((pack.network or {}).get("arena_bytes", 0))
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


def _ram(found: Budget) -> dict[str, int]:
    return {**found.image.ram, "stack": found.stack_bytes}


def _rest(parts: dict[str, int], without: tuple[str, ...]) -> dict[str, int]:
    """The firmware's own parts."""
    return {f"firmware's {name}": n for name, n in parts.items() if name not in without}
