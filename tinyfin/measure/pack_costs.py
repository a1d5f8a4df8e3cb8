# SPDX-License-Identifier: Apache-2.0
"""What a pack costs on a target: sizes from the image, stack and instructions from the target.

Instructions are counted in the guest over replayed events. The bound is derived from the program:
every operator of the program as often as it is there, each at the highest cost in any event of the
file, all in the same event; the highest cost of the rest (maps, network, decision); and for
the reasons one inference per input, each on an input that no kernel can skip. It is no proof over
all files for the operators, so the file should fill the program's rings: :func:`default_data`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin.data.events import Stream, event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.errors import MismatchError
from tinyfin.features.operators import BY_CODE
from tinyfin.formats import OPERATOR, ProgramHeader
from tinyfin.hil.links.session import emulated
from tinyfin.hil.replay import replay
from tinyfin.measure import instrument
from tinyfin.pack.container import parse_pack, with_sections
from tinyfin.pack.probation import Look, Probation
from tinyfin.pack.signing import DEVELOPMENT_KEY
from tinyfin.pack.trust import keys_beside, require_trusted
from tinyfin.targets import build as building
from tinyfin.targets import catalogue, flash
from tinyfin.targets import image_size as sizes
from tinyfin.targets.catalogue import Target
from tinyfin.twin import pack_monitor

__all__ = [
    "AddedCost",
    "Budget",
    "Counted",
    "Instructions",
    "budget",
    "count",
    "default_data",
    "overruns",
]

EVENTS = 1500
"""Transactions of the file that are counted."""
SERIAL_EVENTS = 60
"""Transactions that the terminal application replays while its stack is painted."""
_LARGEST = 6


@dataclass(frozen=True)
class Instructions:
    """Guest instructions per scored event, over ``events`` of them."""

    events: int
    median: int
    p99_9: int
    max: int
    network: int
    """One inference, on an input that no kernel can skip."""
    features_median: int
    """A score without network and reasons: features, input maps, decision."""
    features_max: int
    reasons_max: int
    """What explaining a verdict adds; 0 when no event of the file was explained."""
    outcome_max: int
    monitor_max: int
    """Counting score and features, and the level; 0 of a pack without DRFT and LEVL."""
    shadow_max: int
    """Another pack with a network like this one in its shadow; 0 without a network."""
    export: int
    """Reading the whole state image, in pieces of 64 bytes."""
    bound: int
    largest: tuple[tuple[str, int], ...]
    """Operators by their share of the bound."""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        plain = {key: value for key, value in self.__dict__.items() if key != "largest"}
        return {
            **plain,
            "largest": [{"operator": name, "instructions": n} for name, n in self.largest],
        }


@dataclass(frozen=True)
class AddedCost:
    """What a part that is asked for adds to an image: of flash, of variables, of the bound of its
    stack."""

    flash_bytes: int
    ram_bytes: int
    stack_bytes: int


@dataclass
class Budget:
    """One pack on one target."""

    target: str
    image: sizes.ImageBudget
    stack_painted_bytes: int | None = None
    """What boot, signature check and a replay touched; None without an emulator of its own."""
    instructions: Instructions | None = None
    counted_on: str | None = None
    """The target whose machine has run this one's code to count it; None for its own."""
    not_measured: list[str] = field(default_factory=list)
    sealing: AddedCost | None = None
    """None when it was not asked for, or the target keeps no packs in flash."""
    shadow_state: AddedCost | None = None
    """The same of memory for the state of a pack in shadow."""

    @property
    def stack_bytes(self) -> int:
        """What to reserve: the larger of the call graph's bound and the painted stack."""
        return max(self.image.stack_bound_bytes or 0, self.stack_painted_bytes or 0)

    @property
    def ram_bytes(self) -> int:
        """Variables and stack."""
        return self.image.ram_bytes + self.stack_bytes

    def as_dict(self) -> dict[str, object]:
        """The row of ``budget --json``."""
        return {
            "target": self.target,
            "flash_bytes": self.image.flash_bytes,
            "ram_bytes": self.ram_bytes,
            "stack_bytes": self.stack_bytes,
            "stack_painted_bytes": self.stack_painted_bytes,
            **self.image.as_dict(),
            "instructions": self.instructions.as_dict() if self.instructions else None,
            "counted_on": self.counted_on,
            "not_measured": self.not_measured,
            "sealing": None if self.sealing is None else asdict(self.sealing),
            "shadow_state": None if self.shadow_state is None else asdict(self.shadow_state),
        }


@cache
def default_data(terminals: int = 1, days: int = 25, seed: int = 3) -> Transactions:
    """Simulated transactions, many for one terminal, so that rings and tables are full."""
    import tempfile

    from tinyfin import config, simulator
    from tinyfin.data.readers import read

    settings = config.load(None)
    simulate = settings.simulate.model_copy(
        update={"terminals": terminals, "days": days, "seed": seed}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        simulator.write(simulator.simulate(simulate), path)
        return read(path, settings)


def budget(
    run: Path,
    target_name: str,
    *,
    tx: Transactions | None = None,
    measure: bool = True,
    events: int = EVENTS,
    keys: Sequence[bytes] | None = None,
    sealed: bool = False,
    shadow_state: bool = False,
    note: Callable[[str], object] = lambda _: None,
) -> Budget:
    """Build, take apart, and (where instructions can be counted) measure. ``run``: a run folder or
    a pack. The code of a target without an emulator is counted on the machine that its board file
    names (``counted_on``).

    tx: the events that are replayed; by default :func:`default_data`. measure: False leaves stack
    painting and instructions out. keys: public keys that are trusted; the run's own if None.
    sealed, shadow_state: take the image with that, and what it adds to it, where the target keeps
    packs in flash. The pack is taken in the target's layout, as `build` takes it. Raises PackError
    for a pack that is not trusted, and what the build and the emulator raise.
    """
    target = catalogue.get(target_name)
    keys = keys_beside(run) if keys is None else tuple(keys)
    require_trusted(flash.run_pack(run).read_bytes(), keys, run)
    path = flash.target_pack(run, target, keys, note)
    pack = path.read_bytes()
    image = building.build(target, pack=path, keys=keys)
    found = Budget(target.name, sizes.image_budget(image, path))
    defines: tuple[str, ...] = ()

    def added(define: str) -> AddedCost:
        nonlocal defines, image
        plain, defines = found.image, (*defines, define)
        image = building.build(target, pack=path, keys=keys, defines=defines)
        found.image = sizes.image_budget(image, path)
        return AddedCost(
            found.image.flash_bytes - plain.flash_bytes,
            found.image.ram_bytes - plain.ram_bytes,
            (found.image.stack_bound_bytes or 0) - (plain.stack_bound_bytes or 0),
        )

    if sealed and target.keeps_packs:
        found.sealing = added("TFIN_SEALED")
    if shadow_state and target.keeps_packs:
        found.shadow_state = added("TFIN_SHADOW_STATE")
    counting = catalogue.counting(target) if measure else None
    if counting is None:
        why = "not asked for" if not measure else f"{target.name} has no emulator"
        found.not_measured = [f"painted stack and instructions: {why}"]
        return found
    machine, code_of = counting
    data = default_data() if tx is None else tx
    stream = event_stream(data, "both")
    if code_of is None:
        found.stack_painted_bytes = _painted_stack(target, image.elf, pack, data, stream, keys)
    else:
        found.counted_on = machine.name
        found.not_measured = [
            f"painted stack: not run on {target.name}; its code was counted on {machine.name}"
        ]
    found.instructions = _instructions(machine, pack, data, stream, events, keys, code_of)
    return found


def _painted_stack(
    target: Target, elf: Path, pack: bytes, tx: Transactions, stream: Stream, keys: Sequence[bytes]
) -> int:
    with emulated(target, elf, icount=False) as session:
        replay(
            pack, tx, stream, session.client, limit=SERIAL_EVENTS, target=target.name, keys=keys
        ).check()
        total, free = session.client.stack()
    return total - free


@dataclass(frozen=True)
class Counted:
    """Guest instructions of each score, whether it was explained, of one inference, of outcomes, of
    counting a score."""

    scores: npt.NDArray[np.int64]
    explained: npt.NDArray[np.bool_]
    network: int
    outcome_max: int
    monitor_max: int
    shadow_max: int
    probation_bytes: int
    """RAM of a probation."""
    export: int


def _replaces_itself(pack: bytes, keys: Sequence[bytes]) -> bytes:
    """The pack with bounds under which it may replace itself, signed by the development key."""
    parsed = parse_pack(pack, keys=keys)
    cuts = (1 << 30, 2 << 30, 3 << 30)
    bounds = Probation(parsed.model_id, cuts, cuts, (Look(65535, 0, 0, 0),))
    return with_sections(parsed, {"PROB": bounds.encode()}, DEVELOPMENT_KEY)


def count(
    target: Target,
    pack: bytes,
    tx: Transactions,
    stream: Stream,
    events: int,
    keys: Sequence[bytes] = (),
    code_of: str | None = None,
) -> Counted:
    """Replay ``events`` transactions on the instrument and count each; MismatchError when an
    answer differs from the twin's. code_of: the target whose code runs, as in a build."""
    plain = instrument.build(target, code_of=code_of)
    has_network = parse_pack(pack, keys=keys).network is not None
    tapes = instrument.event_tapes(
        _replaces_itself(pack, keys) if has_network else pack,
        tx,
        stream,
        instrument.room(plain),
        limit=events,
        measure=True,
        keys=keys,
        shadow=b"" if has_network else None,
    )
    total: list[int] = []
    explained: list[bool] = []
    outcome = network = export = monitor = shadow = probation = 0
    for tape, _ in tapes:
        found = instrument.run(plain, tape, icount=True)
        _refuse_differences(found)
        for ticks, reasons, counting in found.numbers("score"):
            monitor = max(monitor, found.instructions(counting))
            total.append(found.instructions(ticks))
            explained.append(reasons > 0)
        outcome = max([outcome, *(found.instructions(n[0]) for n in found.numbers("outcome"))])
        network = max([network, *(found.instructions(n[1]) for n in found.numbers("hashed"))])
        probation = max([probation, *(n[1] for n in found.numbers("shadow"))])
        shadow = max([shadow, *(found.instructions(n[0]) for n in found.numbers("counted"))])
        export = max([export, *(found.instructions(n[0]) for n in found.numbers("exported"))])
    return Counted(
        np.array(total, np.int64),
        np.array(explained, np.bool_),
        network,
        outcome,
        monitor,
        shadow,
        probation,
        export,
    )


def _instructions(
    target: Target,
    pack: bytes,
    tx: Transactions,
    stream: Stream,
    events: int,
    keys: Sequence[bytes],
    code_of: str | None,
) -> Instructions:
    counted = count(target, pack, tx, stream, events, keys, code_of)
    operators, rest = _operators(target, pack, tx, stream, events, keys, code_of)
    return _summary(pack, counted, operators, rest)


def _operators(
    target: Target,
    pack: bytes,
    tx: Transactions,
    stream: Stream,
    events: int,
    keys: Sequence[bytes],
    code_of: str | None,
) -> tuple[dict[int, int], int]:
    """Worst instructions by operator code, and of the rest of a score without reasons."""
    probing = instrument.build(target, probe=True, code_of=code_of)
    worst: dict[int, int] = {}
    rest = 0
    for tape, _ in instrument.event_tapes(
        pack, tx, stream, instrument.room(probing), limit=events, keys=keys
    ):
        found = instrument.run(probing, tape, icount=True)
        _refuse_differences(found)
        for code, ticks, *_ in found.numbers("operator"):
            worst[code] = max(worst.get(code, 0), found.instructions(ticks))
        rest = max([rest, *(found.instructions(n[0]) for n in found.numbers("rest"))])
    return worst, rest


def _refuse_differences(found: instrument.Readings) -> None:
    if found.differing:
        raise MismatchError(
            f"{found.target}: {found.first}; a budget of wrong answers means nothing: run "
            "`tinyfin replay` to find the operator"
        )


def score_operators(pack: bytes) -> Counter[str]:
    """How often each operator is in the program's score phase, by name."""
    program = parse_pack(pack).program
    header = ProgramHeader.read(program)
    starts = (header.score_at + OPERATOR.size * i for i in range(header.score_operators))
    return Counter(BY_CODE[program[at]].name for at in starts)


def _summary(pack: bytes, counted: Counted, operators: dict[int, int], rest: int) -> Instructions:
    counts, explained, network = counted.scores, counted.explained, counted.network
    plain = counts[~explained] - network
    if not len(plain):
        plain = np.zeros(1, np.int64)
    each = {BY_CODE[code].name: n for code, n in operators.items() if code in BY_CODE}
    share = {name: each.get(name, 0) * n for name, n in score_operators(pack).items()}
    plan = parse_pack(pack).network
    inputs = plan["input_length"] if plan else 0
    bound = sum(share.values()) + rest + inputs * network
    largest = sorted(share.items(), key=lambda row: -row[1])[:_LARGEST]
    return Instructions(
        events=len(counts),
        median=int(np.median(counts)),
        p99_9=int(np.percentile(counts, 99.9, method="higher")),
        max=int(counts.max()),
        network=network,
        features_median=int(np.median(plain)),
        features_max=int(plain.max()),
        reasons_max=max(0, int((counts[explained] - network - np.median(plain)).max()))
        if explained.any()
        else 0,
        outcome_max=counted.outcome_max,
        monitor_max=counted.monitor_max if pack_monitor(pack) else 0,
        shadow_max=counted.shadow_max,
        export=counted.export,
        bound=max(bound, int(counts.max())),
        largest=tuple((name, n) for name, n in largest),
    )


def overruns(
    found: Sequence[Budget], max_flash: int | None, max_ram: int | None, *, library: bool = False
) -> list[str]:
    """Each overrun in words, with what is largest there; empty when everything fits.

    library: judge what a firmware of your own links, instead of the rig's whole image.
    """
    told = []
    for row in found:
        image = row.image
        flash, ram = image.flash_bytes, row.ram_bytes
        if library:
            flash, ram = image.library_flash_bytes, image.library_ram_bytes + row.stack_bytes
        for what, used, limit, largest in (
            ("flash", flash, max_flash, image.largest_flash),
            ("RAM with stack", ram, max_ram, image.largest_ram),
        ):
            if limit is not None and used > limit:
                names = ", ".join(f"{c.name} {c.bytes} B" for c in largest[:4])
                stack = f", stack {row.stack_bytes} B" if what.startswith("RAM") else ""
                told.append(
                    f"{row.target}: {what} {used} B is {used - limit} B over {limit} B; "
                    f"largest: {names}{stack}"
                )
    return told
