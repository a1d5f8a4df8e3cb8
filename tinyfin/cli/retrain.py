# SPDX-License-Identifier: Apache-2.0
"""``tinyfin retrain``: from a request to a candidate in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import DataFile, claim, emit, json_option, note
from tinyfin.cli.registry import registry_option
from tinyfin.cli.trust import public_key_option
from tinyfin.errors import ConfigError
from tinyfin.results.release import RULES

if TYPE_CHECKING:
    from tinyfin.results.release import Rule

__all__ = ["command"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("data", nargs=-1, required=True, type=DataFile())
@click.option(
    "--request",
    type=click.IntRange(1),
    help="The request that it answers, a number of `tinyfin fleet requests`.",
)
@click.option("--cause", default="", help="Why, in words; needed without --request.")
@click.option("--run", "name", required=True, help="Name of the new run.")
@click.option("--out", default="runs", show_default=True, help="Folder of the runs.")
@click.option(
    "--parent",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="What terminals run now: a .tfpack, or its run folder.",
)
@click.option(
    "--judge-on",
    "later",
    multiple=True,
    required=True,
    type=DataFile(),
    help="Transactions that neither pack was trained on, for the release. May be repeated.",
)
@click.option(
    "--warmup",
    multiple=True,
    type=DataFile(),
    help="Transactions before those of --judge-on: they build state. May be repeated.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False),
    help="tinyfin.toml; that of the parent's run folder if not given.",
)
@click.option("--until", help="The model goes live here: labels known later are not used.")
@click.option("--gate", type=_FILE, help="TOML of bounds of the evaluation.")
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(RULES),
    help="Release although this rule is broken; it is recorded. May be repeated.",
)
@click.option(
    "--without-control",
    is_flag=True,
    help="Train although DATA has no control events of the parent; it is recorded.",
)
@click.option(
    "--influence",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="Train again without each of so many terminals.",
)
@click.option("--key", "key_path", type=_FILE, help="Signs the pack; the development key if none.")
@click.option("--person", "person_path", type=_FILE, required=True, help="Signs the events.")
@public_key_option
@registry_option
@json_option
def command(
    data: tuple[str, ...],
    request: int | None,
    cause: str,
    name: str,
    out: str,
    parent: Path,
    later: tuple[str, ...],
    warmup: tuple[str, ...],
    config_path: str | None,
    until: str | None,
    gate: Path | None,
    allow: tuple[Rule, ...],
    without_control: bool,
    influence: int,
    key_path: Path | None,
    person_path: Path,
    public_keys: tuple[Path, ...],
    folder: Path,
    as_json: bool,
) -> None:
    """Train a candidate on DATA, quantize, evaluate and release it, and add it to the registry.

    It ends at the first step that fails, with that step's message and exit code. It never promotes:
    persons approve the candidate. Keeps retraining.json in the run: control events, the cap on the
    weight of a terminal, and what single terminals and wrong labels change.
    """
    from tinyfin.config import load, parse_moment
    from tinyfin.pack.signing import load_key
    from tinyfin.pack.trust import trusted_keys
    from tinyfin.registry.contents import pack_in_service
    from tinyfin.registry.registry import Registry
    from tinyfin.release.workflow import Options
    from tinyfin.retraining.workflow import Asked, retrain
    from tinyfin.targets.flash import run_pack
    from tinyfin.training.run_folder import open_run

    if request is None and not cause:
        raise click.UsageError("give --request or --cause")
    if config_path is None and not parent.is_dir():
        raise click.UsageError("give --config, or the run folder of the parent")
    config = open_run(parent).asked() if config_path is None else load(config_path)
    try:
        until_s = None if until is None else parse_moment(until)
    except ValueError as error:
        raise ConfigError(f"--until {until!r}: {error}") from error
    pack = run_pack(pack_in_service(parent))
    claim(Path(out) / name, make_folder=True)
    found, event = retrain(
        data,
        later,
        config,
        Asked(
            cause=cause,
            request=request,
            parent=pack,
            parent_keys=trusted_keys(pack, public_keys),
            without_control=without_control,
            influence=influence,
            gate=gate,
            options=Options(allow=allow),
        ),
        Registry(folder),
        load_key(person_path, "person"),
        name=name,
        out=out,
        until_s=until_s,
        warmup=warmup,
        key=None if key_path is None else load_key(key_path),
        note=note,
    )
    said = (
        f"{found.candidate.pack_id}: in {folder} by event {event.number}; persons approve it next"
    )
    facts = {"run": str(Path(out) / name), "pack": found.candidate.pack_id, "event": event.number}
    emit(facts, as_json, f"{said}\nhead {event.number}:{event.digest}")
