# SPDX-License-Identifier: Apache-2.0
"""``tinyfin slots``: which packs a terminal holds, and what becomes of them."""

from __future__ import annotations

from dataclasses import asdict
from enum import IntEnum
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import emit, json_option
from tinyfin.cli.terminal import Terminal, terminal_options

if TYPE_CHECKING:
    from tinyfin.wire.slot_frames import SlotInfo

__all__ = ["as_dict", "command", "text"]


@click.command()
@terminal_options
@click.option(
    "--activate",
    "act",
    flag_value="activate",
    help="STAGED: into the shadow of the pack that runs, if it was released for that and the "
    "terminal has memory for its state; else on trial.",
)
@click.option("--try", "act", flag_value="try", help="STAGED, SHADOW: start its trial.")
@click.option("--confirm", "act", flag_value="confirm", help="TRIAL: the pack stays.")
@click.option("--revert", "act", flag_value="revert", help="TRIAL: back to the pack before it.")
@click.option("--abort", "act", flag_value="abort", help="Not yet on trial: forget that pack.")
@json_option
def command(terminal: Terminal, act: str | None, as_json: bool) -> None:
    """Show the slots of a terminal: active pack, the other one and its phase, floor, tries.

    After --activate, --try and --revert the terminal restarts. A build with --release takes none
    of them from here: `tinyfin command` signs them, or its application calls them.
    """
    from tinyfin.wire import slot_frames

    with terminal.connected() as client:
        if act is not None:
            slot_frames.command(client, slot_frames.Command[act.upper()])
            if act in ("activate", "try", "revert"):
                client.reboot()
                client.connect()
        slots = slot_frames.info(client)
        in_probation = slots.phase in (slot_frames.Phase.SHADOW, slot_frames.Phase.TRIAL)
        counts = slot_frames.probation(client) if in_probation else None
    facts, said = as_dict(slots), text(slots)
    if counts is not None:
        facts["probation"] = asdict(counts)
        said += f"\nprobation: {counts.words}"
    emit(facts, as_json, said)


def as_dict(slots: SlotInfo) -> dict[str, object]:
    """The facts of ``--json``."""
    facts = asdict(slots, dict_factory=_plain)
    del facts["detail"]
    return {**facts, "tries": slots.tries, "worked": slots.worked}


def _plain(items: list[tuple[str, object]]) -> dict[str, object]:
    return {
        name: value.name.lower() if isinstance(value, IntEnum) else value for name, value in items
    }


def text(slots: SlotInfo) -> str:
    """The slots for people."""
    from tinyfin.wire.slot_frames import Journal, Phase, Place, Reason, StateFound

    def words(number: IntEnum) -> str:
        return number.name.lower().replace("_", " ")

    def place(which: Place) -> str:
        return "the image" if which == Place.FACTORY else words(which)

    lines = [f"active: pack {slots.active_tag}..., in {place(slots.active)}"]
    if slots.phase != Phase.NONE:
        state = words(slots.phase)
        if slots.phase == Phase.TRIAL:
            state = f"in trial, {slots.tries} tries left"
            if slots.running != slots.other:
                state = f"in trial from the next start on, {slots.tries} tries left"
            state += ", has worked" if slots.worked else ", has not scored eight events yet"
        lines.append(f"other: pack {slots.other_tag}..., in {place(slots.other)}: {state}")
    elif slots.reason not in (Reason.NONE, Reason.CONFIRMED, Reason.JOURNAL_LOST):
        lines.append(f"given up: pack {slots.other_tag}...: {words(slots.reason)}")
    lines += [
        f"running: {place(slots.running)}, security counter {slots.counter}, floor {slots.floor}",
        f"installs begun today: {slots.installs_today} of 4",
    ]
    if slots.journal == Journal.LOST:
        lines.append("the journal was unreadable at the last start: it began again")
    if (log := slots.state_log) is not None:
        if not log.works:
            lines.append("state: not kept; the flash has no space for it, or does not take it")
        else:
            kept = f"state: image {log.images} and {log.events} events since"
            lost = "; it could not be read at the last start" * (log.found == StateFound.LOST)
            lines.append(f"{kept}, {log.restored} of them restored at the last start{lost}")
    return "\n".join(lines)
