# SPDX-License-Identifier: Apache-2.0
"""``tinyfin budget``: what a pack costs on each target, before anything is flashed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import emit, json_option, note
from tinyfin.cli.trust import public_key_option, sealed_option, shadow_state_option
from tinyfin.config.sizes import parse_size
from tinyfin.progress import stage

if TYPE_CHECKING:
    from tinyfin.measure.estimates import Estimate
    from tinyfin.measure.pack_costs import Budget

__all__ = ["command"]


class _Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # click 8.2
    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Clock(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # click 8.2
    name = "Hz"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from tinyfin.measure.estimates import parse_clock

        try:
            return parse_clock(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True), required=False)
@click.option(
    "--set",
    "which",
    help="Instead of RUN: a set of features (default, stream, host, all), without a network.",
)
@click.option("--target", "targets", multiple=True, help="Only this target; may be repeated.")
@click.option("--max-flash", type=_Size(), help="Exit code 7 when an image is larger: 64k.")
@click.option("--max-ram", type=_Size(), help="Exit code 7 when variables and stack need more: 8k.")
@click.option(
    "--judge",
    type=click.Choice(["image", "library"]),
    default="image",
    show_default=True,
    help="What these two limit: the rig's whole image, or what a firmware of your own links of it.",
)
@click.option(
    "--clock", "clock_hz", type=_Clock(), help="Estimate the time of a verdict at this clock: 80M."
)
@click.option(
    "--nj-per-instruction",
    type=click.FloatRange(min=0, min_open=True),
    help="Estimate the energy of a verdict: 0.1, by the chip's data sheet.",
)
@click.option(
    "--data",
    "data_path",
    type=click.Path(path_type=Path, exists=True),
    help="Transactions that are replayed for counting; simulated ones by default.",
)
@click.option("--config", type=click.Path(path_type=Path, exists=True), help="For --data.")
@click.option(
    "--measure/--no-measure",
    default=True,
    help="Boot each target and count; without, sizes and the stack's bound only.",
)
@sealed_option
@shadow_state_option
@public_key_option
@boards_option
@json_option
def command(
    run: Path | None,
    which: str | None,
    targets: tuple[str, ...],
    max_flash: int | None,
    max_ram: int | None,
    judge: str,
    clock_hz: int | None,
    nj_per_instruction: float | None,
    data_path: Path | None,
    config: Path | None,
    measure: bool,
    sealed: bool,
    shadow_state: bool,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Show what RUN, a run folder or a .tfpack, costs on every target, or on those given.

    The pack has each target's layout, as in `build`. Flash and RAM are those of the linked image,
    to the byte. Stack is the larger of the bound from the compiler's call graph and what a replay
    touched. Instructions are counted in the guest over replayed events; the bound is derived from
    the program. A target that is too small has a row, too. Below the table is the memory that the
    catalogue's sets need. --max-flash and --max-ram make it a check for continuous integration.

    --clock and --nj-per-instruction add an estimate, at one cycle an instruction; the suites
    latency and energy of `tinyfin hil run` measure a board.

    "library" is what a firmware of your own links: engine, network, plan, the rest of the pack and
    the signature check; of RAM the engine's memory and the stack. The rest of the image is the
    rig's terminal. Export is reading the whole state image.

    --sealed and --shadow-state show the image with sealed packs and state images, and with memory
    for the state of a pack in shadow, and what each adds to it, on each target that keeps packs in
    flash. A target whose RAM does not hold a second state is one that is too small.
    """
    import tempfile

    if (run is None) == (which is None):
        raise click.UsageError("give either RUN or --set")
    if not measure and (clock_hz is not None or nj_per_instruction is not None):
        raise click.UsageError(
            "an estimate is made of counted instructions: leave out --no-measure"
        )
    with tempfile.TemporaryDirectory() as folder:
        chosen = run or _alone(which or "", Path(folder))
        _tell(
            chosen,
            targets,
            max_flash,
            max_ram,
            judge,
            clock_hz,
            nj_per_instruction,
            data_path,
            config,
            measure,
            sealed,
            shadow_state,
            public_keys,
            as_json,
        )


def _alone(which: str, folder: Path) -> Path:
    """A pack of a set of features, without a network."""
    from tinyfin.features.compiler import compile_program
    from tinyfin.pack.container import build_pack
    from tinyfin.schema import PAYMENT, PAYMENT_HOST

    path = folder / "features.tfpack"
    schema = PAYMENT_HOST if which == "host" else PAYMENT
    path.write_bytes(build_pack(schema, compile_program(which, schema)))
    return path


def _tell(
    run: Path,
    targets: tuple[str, ...],
    max_flash: int | None,
    max_ram: int | None,
    judge: str,
    clock_hz: int | None,
    nj_per_instruction: float | None,
    data_path: Path | None,
    config: Path | None,
    measure: bool,
    sealed: bool,
    shadow_state: bool,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tinyfin import config as configuration
    from tinyfin.data.readers import read
    from tinyfin.errors import BudgetError
    from tinyfin.features.set_sizes import set_sizes
    from tinyfin.measure.pack_costs import budget, default_data, overruns
    from tinyfin.pack.trust import trusted_keys
    from tinyfin.targets import catalogue

    keys = trusted_keys(run, public_keys)
    own = (name for name, target in catalogue.load().items() if target.is_own)
    names = targets or (*catalogue.emulated(), *own)
    tx = None if data_path is None else read(data_path, configuration.load(config))
    if tx is None and measure:
        tx = default_data()

    def one(name: str) -> Budget | BudgetError:
        try:
            with stage(name):
                return budget(
                    run,
                    name,
                    tx=tx,
                    measure=measure,
                    keys=keys,
                    sealed=sealed,
                    shadow_state=shadow_state,
                )
        except BudgetError as error:
            return error
        finally:
            whole.step()

    # builds and emulators are other processes: two at a time keep two cores busy
    with stage("budget", len(names), "targets") as whole, ThreadPoolExecutor(max_workers=2) as pool:
        rows = dict(zip(names, pool.map(one, names), strict=True))
    found = [row for row in rows.values() if not isinstance(row, BudgetError)]
    misfits = {name: str(row) for name, row in rows.items() if isinstance(row, BudgetError)}
    over = overruns(found, max_flash, max_ram, library=judge == "library")
    if targets or max_flash is not None or max_ram is not None:
        over += misfits.values()
    sets = set_sizes()
    estimates = _estimates(found, clock_hz, nj_per_instruction)
    facts = {
        "fits": not over,
        "overruns": over,
        "targets": [
            {**row.as_dict(), "estimate": vars(made) if (made := estimates[row.target]) else None}
            for row in found
        ],
        "does_not_fit": [{"target": name, "why": why} for name, why in misfits.items()],
        "max_flash_bytes": max_flash,
        "max_ram_bytes": max_ram,
        "sets": sets,
    }
    said = [
        f"{row.target}: {what} adds {added.flash_bytes} B of flash, "
        f"{added.ram_bytes} B of variables, {added.stack_bytes} B of stack"
        for row in found
        for what, added in (("sealing", row.sealing), ("a second state", row.shadow_state))
        if added is not None
    ]
    said += [f"{name}: {made}" for name, made in estimates.items() if made is not None]
    emit(facts, as_json, "\n".join([_table(found, misfits, sets), *said]))
    if over:
        for text in over:
            note(f"error: {text}")
        raise SystemExit(BudgetError.exit_code)


def _estimates(
    found: list[Budget], clock_hz: int | None, nj_per_instruction: float | None
) -> dict[str, Estimate | None]:
    """Of each target whose instructions were counted, if an estimate is wanted."""
    from tinyfin.measure.estimates import Estimate

    wanted = clock_hz is not None or nj_per_instruction is not None
    return {
        row.target: Estimate.of(row.instructions, clock_hz, nj_per_instruction)
        if wanted and row.instructions is not None
        else None
        for row in found
    }


_COLUMNS = (
    ("target", 17),
    ("flash", 7),
    ("library", 8),
    ("engine", 7),
    ("network", 8),
    ("plan", 6),
    ("pack", 6),
    ("sign.", 6),
    ("slots", 6),
    ("app", 6),
    ("RAM", 6),
    ("state", 6),
    ("scratch", 8),
    ("frames", 7),
    ("stack", 6),
    ("median", 8),
    ("99.9%", 8),
    ("max", 8),
    ("bound", 8),
    ("network", 8),
    ("features", 9),
    ("reasons", 8),
    ("export", 9),
)


def _table(found: list[Budget], misfits: dict[str, str], sets: dict[str, dict[str, int]]) -> str:
    lines = [
        "bytes; RAM with stack; then instructions per scored event (network: one inference)",
        "".join(f"{name:>{width}}" for name, width in _COLUMNS),
    ]
    for row in found:
        flash, ram, count = row.image.flash, row.image.ram, row.instructions
        cells: list[Any] = [
            row.target,
            row.image.flash_bytes,
            row.image.library_flash_bytes,
            flash["engine"],
            flash["network"],
            flash["plan"],
            flash["pack"],
            flash["signature check"],
            flash["slots and journal"],
            flash["application"]
            + flash["startup"]
            + flash["compiler library"]
            + flash["alignment"],
            row.ram_bytes,
            ram["state"],
            ram["scratch"],
            ram["frame buffers"],
            row.stack_bytes,
        ]
        cells += (
            [
                count.median,
                count.p99_9,
                count.max,
                count.bound,
                count.network,
                count.features_median,
                count.reasons_max,
                count.export,
            ]
            if count
            else ["-"] * 8
        )
        lines.append("".join(f"{c:>{w}}" for c, (_, w) in zip(cells, _COLUMNS, strict=True)))
    lines += [f"{name}: does not fit: {why}" for name, why in misfits.items()]
    for row in found[:1]:
        names = ", ".join(f"{c.name} {c.bytes}" for c in row.image.largest_flash[:6])
        lines.append(f"largest in flash ({row.target}): {names}")
        names = ", ".join(f"{c.name} {c.bytes}" for c in row.image.largest_ram[:6])
        lines.append(f"largest in RAM: {names}")
        lines.append(f"deepest call path: {' > '.join(row.image.stack_path)}")
        if row.instructions:
            names = ", ".join(f"{name} {n}" for name, n in row.instructions.largest)
            lines.append(f"largest in the bound: {names}")
    lines += [
        f"{row.target}: the monitor takes {row.image.ram['monitor']} B of RAM, and at most "
        f"{row.instructions.monitor_max} instructions an event"
        for row in found
        if row.instructions and row.instructions.monitor_max
    ]
    lines += [
        f"{row.target}: a pack in shadow takes at most {row.instructions.shadow_max} instructions "
        "more an event"
        for row in found
        if row.instructions and row.instructions.shadow_max
    ]
    lines += [f"{row.target}: {text}" for row in found for text in row.not_measured]
    lines += [
        f"set {name}: {row['features']} features, program {row['program_bytes']} B, "
        f"state {row['state_bytes']} B, memory without a network {row['memory_bytes']} B"
        for name, row in sets.items()
    ]
    return "\n".join(lines)
