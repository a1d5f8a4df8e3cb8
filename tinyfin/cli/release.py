# SPDX-License-Identifier: Apache-2.0
"""``tinyfin release``: judge a candidate, and give it the bounds of its probation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import DataFile, claim, emit, json_option, note
from tinyfin.cli.score import scoring_options
from tinyfin.cli.trust import key_option
from tinyfin.errors import MismatchError
from tinyfin.results.release import RULES

if TYPE_CHECKING:
    from tinyfin.data.events import Notices
    from tinyfin.results.release import Release, Rule

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("data", nargs=-1, required=True, type=DataFile())
@click.option(
    "--parent",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The pack that terminals run now, and that this one is to replace. Without it: the first "
    "release, which has no probation.",
)
@scoring_options
@click.option(
    "--look",
    "looks",
    multiple=True,
    type=click.IntRange(1, 65_535),
    help="Events of the shadow after which it is looked at; up to four times. 200, 500 and 1000 if "
    "not given, fewer where most terminals of DATA have fewer.",
)
@click.option(
    "--trial-events",
    type=click.IntRange(0, 65_535),
    help="Events of the trial; half of the last look if not given, 0 for a trial without bounds.",
)
@click.option(
    "--shadow-state",
    is_flag=True,
    help="Terminals have memory for a second state (TFIN_SHADOW_STATE): a pack with another "
    "feature program than the parent's is judged in shadow, too.",
)
@click.option("--auto-trial", is_flag=True, help="From shadow to trial without a command.")
@click.option("--auto-confirm", is_flag=True, help="Confirmed after the trial without a command.")
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(RULES),
    help="Release although this rule is broken; it is recorded. May be repeated.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Average precision that the candidate may lose against the parent.",
)
@click.option(
    "--as-of",
    help="Use labels that were known at this moment (ISO 8601); the last transaction of DATA if "
    "not given.",
)
@click.option("--no-levels", is_flag=True, help="No levels of thresholds (LEVL) in the pack.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="Build and count both packs for this target; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the pack and the report; RUN/release if not given.",
)
@key_option
@click.option(
    "--security-counter",
    type=click.IntRange(0, 2**32 - 1),
    help="Terminals that have run a pack with a higher one refuse this pack; the higher one of "
    "both packs if not given.",
)
@json_option
def command(
    run: str,
    data: tuple[str, ...],
    parent: Path | None,
    warmup: tuple[str, ...],
    notices: Notices | None,
    config_path: str | None,
    skip_bad_rows: str | None,
    public_keys: tuple[Path, ...],
    looks: tuple[int, ...],
    trial_events: int | None,
    shadow_state: bool,
    auto_trial: bool,
    auto_confirm: bool,
    allow: tuple[Rule, ...],
    margin: float,
    as_of: str | None,
    no_levels: bool,
    targets: tuple[str, ...],
    out: Path | None,
    key_path: Path | None,
    security_counter: int | None,
    as_json: bool,
) -> None:
    """Judge the pack of a RUN against the one that terminals run, on DATA, and release it.

    DATA are labelled transactions of terminals, or weeks, that neither pack was trained on. The
    pack is refused (exit code 4) when it is not better, not calibrated, alerts more than its
    budget, or differs too much to be judged in shadow, unless --allow names the rule. The bounds of
    its probation aim at refusing one in 1,000 healthy terminals at most. Writes model.tfpack,
    release.json, release.html and release.md.
    """
    from tinyfin.cli.monitor import moment
    from tinyfin.pack.signing import load_key
    from tinyfin.pack.trust import trusted_keys
    from tinyfin.release.page import refusal_text
    from tinyfin.release.workflow import FOLDER, Options, release
    from tinyfin.targets import catalogue
    from tinyfin.training.run_folder import open_run

    folder = open_run(run)
    for name in targets:
        catalogue.get(name)
    key = None if key_path is None else load_key(key_path)
    place = folder.path / FOLDER if out is None else out
    claim(run if out is None else place, make_folder=True)
    claim(skip_bad_rows)
    found = release(
        folder,
        data,
        parent=parent,
        parent_keys=() if parent is None else trusted_keys(parent, public_keys),
        options=Options(
            looks=tuple(sorted(set(looks))),
            trial_events=trial_events,
            shadow_state=shadow_state,
            auto_trial=auto_trial,
            auto_confirm=auto_confirm,
            levels=not no_levels,
            margin=margin,
            allow=allow,
            as_of_s=moment(as_of),
            security_counter=security_counter,
        ),
        warmup=warmup,
        config_path=config_path,
        notices=notices,
        skip_bad_rows=skip_bad_rows,
        keys=trusted_keys(folder.path, public_keys),
        key=key,
        targets=targets,
        out=out,
        note=note,
    )
    emit(found.as_json(), as_json, _text(found, place))
    if found.state == "refused":
        # the result is out already: an error object on stdout would follow it
        note(f"error: {refusal_text(found, folder.path, place)}")
        raise SystemExit(MismatchError.exit_code)


def _text(found: Release, place: Path) -> str:
    from tinyfin.release.page import duration, promise_text, verdict_lines

    lines = [f"{found.run}: {found.state}", *(f"  {line}" for line in verdict_lines(found))]
    pair = found.figures.get("average_precision")
    if pair is not None:
        lines.append(
            f"average precision {pair.b:.4f}, the parent's {pair.a:.4f}"
            + (
                ""
                if pair.interval is None
                else ", difference {:+.4f} to {:+.4f}".format(*pair.interval)
            )
        )
    if found.parent is not None:
        lines.append(f"decisions that change: {found.changed:,} of {found.data.rows:,}")
    probation = found.probation
    if probation is not None:
        lines += [promise_text(probation)] if probation.shadow else []
        lines.append(f"probation takes {duration(probation)} on the median terminal")
    if found.state == "released":
        lines.append(f"pack: {place / 'model.tfpack'}")
    return "\n".join([*lines, f"report: {place / 'release.html'}"])
