# SPDX-License-Identifier: Apache-2.0
"""From a run and the pack that it is to replace to a pack that terminals may take, and a report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.config import parse_moment
from tinyfin.data.events import Notices
from tinyfin.data.memory_tables import Sources, as_files
from tinyfin.data.readers import read_chunks, survey
from tinyfin.data.transactions import format_time
from tinyfin.errors import InputError, PackError, TinyfinError
from tinyfin.evaluation.compare import changes_of
from tinyfin.monitoring.labels import LabelledRows
from tinyfin.monitoring.workflow import calibration_rows
from tinyfin.pack.container import Pack, with_sections
from tinyfin.pack.drift import DriftSection, Histogram
from tinyfin.pack.drift_making import drift_section
from tinyfin.pack.layouts import remove_layouts, write_layouts
from tinyfin.pack.levels import levels_section
from tinyfin.pack.sections import encode_json
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key
from tinyfin.pack.trust import PUBLIC_KEY_FILE, require_trusted, save_public_key
from tinyfin.progress import stage
from tinyfin.release.judgement import changed_groups, figures_of, objections
from tinyfin.release.page import markdown, render
from tinyfin.release.probation import Asked, probation_of
from tinyfin.release.scored import Rows, begun_with, score_both
from tinyfin.results.comparison import Pair
from tinyfin.results.metrics import DecisionFacts, Metrics
from tinyfin.results.monitor import LabelFigures, MonitoredData
from tinyfin.results.release import PackFacts, Release, Rule, TargetCost
from tinyfin.training.run_folder import RunFolder, file_facts, open_run
from tinyfin.training.scoring import Scoring

__all__ = ["FOLDER", "MARGIN", "Options", "release"]

Note = Callable[[str], None]

FOLDER = "release"
"""In the run's folder."""
MARGIN = 0.01
"""Average precision that a candidate may lose where the interval allows it."""
_DAY_S = 86_400


@dataclass(frozen=True)
class Options:
    """What a release may be asked for; :func:`release`."""

    looks: Sequence[int] = ()
    trial_events: int | None = None
    auto_trial: bool = False
    auto_confirm: bool = False
    shadow_state: bool = False
    """Terminals have memory for the state of a pack with another feature program."""
    levels: bool = True
    margin: float = MARGIN
    allow: Collection[Rule] = ()
    as_of_s: int | None = None
    security_counter: int | None = None
    request: str | None = None
    """That the candidate answers, for its lineage: ``NUMBER:HASH`` of an event of a registry."""


def release(
    run: RunFolder | str | Path,
    data: Sources,
    *,
    parent: Path | None = None,
    parent_keys: Sequence[bytes] = (),
    options: Options = Options(),
    warmup: Sources = (),
    config_path: str | Path | None = None,
    notices: Notices | None = None,
    skip_bad_rows: str | Path | None = None,
    keys: Sequence[bytes] = (),
    key: Key | None = None,
    targets: Sequence[str] = (),
    out: Path | None = None,
    note: Note = lambda _: None,
) -> Release:
    """Judge the pack of ``run`` on transactions of terminals that it has not seen, and write
    ``model.tfpack`` with the sections of its life in a terminal, ``release.json``, ``release.html``
    and ``release.md`` to ``out``, the run's folder ``release`` if None.

    ``parent``: the .tfpack that it is to replace; None for the first release. ``keys`` and
    ``parent_keys``: public keys that either pack may be signed by. ``key`` signs the new one.
    ``targets``: where both packs are built and counted. A candidate that breaks a rule that
    ``options`` does not allow is refused: the result says so, and there is no pack. Raises what
    :func:`tinyfin.training.scoring.score` raises, InputError for a parent that cannot be compared
    and for transactions of the training.
    """
    _require_sense(options)
    run = open_run(run)
    metrics, decision = run.quantized()
    own = require_trusted(run.pack_bytes(), keys, run.pack)
    old = None if parent is None else _parent(parent, parent_keys, own, run)
    with as_files(warmup) as before, as_files(data) as paths:
        _require_other_files(run, parent, paths)
        if old is not None and old.lineage.get("data") != own.lineage.get("data"):
            note(
                f"{parent}: was trained on other data than {run.path}; DATA must be new to it too: "
                f"its training ended {old.lineage.get('until', 'at an unknown time')}"
            )
        scoring = Scoring.open(
            run,
            paths,
            warmup=before,
            config_path=config_path,
            notices=notices,
            skip_bad_rows=skip_bad_rows,
            keys=keys,
            note=note,
        )
        rows, labelled, order = score_both(scoring, old, parent_keys)
        _require_unseen(run, scoring, rows, note)
        found_files = file_facts(paths)
    with stage("figures of the labels"):
        labels, pairs = _judged(
            run, scoring, rows, labelled, metrics, decision, options, old is not None
        )
    sections: dict[str, bytes] = {}
    probation = None
    if old is not None:
        other = old.program != own.program
        asked = Asked(
            old.model_id,
            options.shadow_state or not other,
            options.looks,
            options.trial_events,
            options.auto_trial,
            options.auto_confirm,
            options.shadow_state and other,
        )
        if not asked.shadow:
            note(
                f"{parent}: has another feature program: the candidate goes on trial with a cold "
                "state, without a shadow; --shadow-state is for terminals that have memory for it"
            )
        if asked.own_state and not scoring.first:
            note(
                f"{parent}: has another feature program: give --warmup, so that its state is that "
                "of terminals in service while the shadow's begins"
            )
        with stage("bounds"):
            seen = begun_with(scoring, rows, order, keys) if asked.own_state else rows
            made, probation = probation_of(seen, asked)
        sections["PROB"] = made.encode()
    sections |= _monitor_sections(own, rows, options, note)
    broken = objections(labels, pairs, probation, margin=options.margin, allow=options.allow)
    refused = any(not one.allowed for one in broken)
    allowed = [one.rule for one in broken if one.allowed]
    line = {**own.lineage, **({"allowed": allowed} if allowed else {})}
    if old is not None:
        line["parent"] = old.pack_id.hex()
    if options.request is not None:
        line["request"] = options.request
    if "DRFT" in sections:
        line["score_bins"] = score_bins(DriftSection.decode(sections["DRFT"]).score, rows)
    counter = options.security_counter
    if counter is None:
        counter = max(own.security_counter, 0 if old is None else old.security_counter)
    new = require_trusted(
        with_sections(own, {**sections, "LINE": encode_json(line)}, key, security_counter=counter),
        [*keys, *([] if key is None else [key.public])],
        run.pack,
    )
    result = Release(
        run=run.name,
        run_pack=own.pack_id.hex(),
        state="refused" if refused else "released",
        objections=broken,
        candidate=_pack_facts(new),
        data=MonitoredData(
            files=found_files,
            rows=len(rows.own),
            warmup=scoring.counts.warmup,
            terminals=len(np.unique(rows.terminal)),
            from_=format_time(int(rows.t_s[0])),
            to=format_time(int(rows.t_s[-1])),
        ),
        margin=options.margin,
        sections={tag: len(payload) for tag, payload in sections.items()},
    )
    if labels is not None:
        result.labels = labels
    if old is not None:
        result.parent = _pack_facts(old)
        result.figures = pairs
        result.changes = changes_of(rows.label, (rows.parent_advice, rows.own_advice))
        result.changed = int(np.count_nonzero(rows.parent_advice != rows.own_advice))
        result.groups = changed_groups(rows)
    if probation is not None:
        result.probation = probation
    place = run.path / FOLDER if out is None else out
    place.mkdir(parents=True, exist_ok=True)
    _write_pack(place / "model.tfpack", None if refused else new, key)
    if parent is not None and targets and not refused:
        trusted = (*keys, *parent_keys, *(() if key is None else (key.public,)))
        result.costs = [_cost(place / "model.tfpack", parent, name, trusted) for name in targets]
    RunFolder(place).write(result)
    files.write(place / "release.html", render(result))
    files.write(place / "release.md", markdown(result))
    return result


def _require_sense(options: Options) -> None:
    if not 0 <= options.margin <= 1:  # NaN is no margin either: nothing would be below it
        raise InputError(f"--margin {options.margin} must be 0 to 1")
    if options.auto_confirm and options.trial_events == 0:
        raise InputError(
            "--auto-confirm: a trial of 0 events has no bounds, and ends by command; leave it out, "
            "or give --trial-events"
        )


def _parent(path: Path, keys: Sequence[bytes], own: Pack, run: RunFolder) -> Pack:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; give the pack that terminals run, a .tfpack file"
        ) from error
    try:
        found = require_trusted(data, keys, path)
    except PackError as error:
        said = str(error)
        raise PackError(said if said.startswith(str(path)) else f"{path}: {said}") from error
    if found.plan is None:
        raise InputError(f"{path}: the pack holds no network, so there is nothing to compare")
    same = ("SCHM", "PROG", "MAPS", "PLAN", "READ", "CALI", "DECI")
    if all(found.sections[tag] == own.sections[tag] for tag in same):
        raise InputError(
            f"{path}: decides as the pack of {run.path} does, event for event; give the pack that "
            "terminals run now, or train another one"
        )
    return found


def _require_other_files(run: RunFolder, parent: Path | None, paths: Sequence[Path]) -> None:
    """InputError when the candidate was trained on one of the files, or the parent was, as far as
    its folder says."""
    runs = [run]
    if parent is not None:
        around = (parent.parent, parent.parent.parent)
        runs += [RunFolder(place) for place in around if (place / "run.json").is_file()]
    given = file_facts(paths)
    for one in runs:
        known = {file.sha256 for file in one.facts().data.files}
        for file in given:
            if file.sha256 in known:
                raise InputError(
                    f"{file.path}: {one.path} was trained on this file; give transactions of "
                    "terminals, or of later weeks, that neither pack was trained on"
                )


_MOST_SHARED = 0.01
"""Of the rows, that may have terminal and second in common with the training: by chance, where
terminals of two files have the same names."""


def _require_unseen(run: RunFolder, scoring: Scoring, rows: Rows, note: Note) -> None:
    """InputError when rows from before the training's end are rows of the training."""
    facts = run.facts()
    until = parse_moment(facts.split.until)
    early = rows.t_s < until
    if not early.any():
        return
    begins = f"DATA begins {format_time(int(rows.t_s[0]))}, training ended {facts.split.until}"
    paths = [Path(file.path) for file in facts.data.files]
    if not all(path.is_file() for path in paths):
        note(f"{begins}: give other terminals than those of the training; its files are not here")
        return
    names = np.array([crc32(name.encode()) for name in scoring.terminals], np.uint64)
    keys = _keys(names[rows.terminal[early]], rows.t_s[early])
    config = run.config()
    with stage("looking for rows of the training"):
        try:
            found = survey(paths, config, labels=False)
        except TinyfinError as error:
            note(f"{begins}, and whether rows are of the training is not known: {error}")
            return
        trained = np.array([crc32(name.encode()) for name in found.terminals], np.uint64)
        shared = np.zeros(len(keys), bool)
        for tx in read_chunks(paths, config, found):
            shared |= np.isin(keys, _keys(trained[tx.terminal], tx.t_mono_s))
    if shared.mean() > _MOST_SHARED:
        raise InputError(
            f"{np.count_nonzero(shared)} of {len(keys)} transactions are of the same terminal and "
            f"second as one that {run.path} was trained on ({begins}); give terminals, or later "
            "weeks, that neither pack was trained on"
        )


def _keys(name: npt.NDArray[np.uint64], t_s: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]:
    return np.asarray(name << np.uint64(32) | t_s.astype(np.uint64))


def _judged(
    run: RunFolder,
    scoring: Scoring,
    rows: Rows,
    labelled: LabelledRows,
    metrics: Metrics,
    decision: DecisionFacts,
    options: Options,
    paired: bool,
) -> tuple[LabelFigures | None, dict[str, Pair]]:
    as_of = int(rows.t_s[-1]) if options.as_of_s is None else options.as_of_s
    horizon = round(run.facts().split.label_horizon_days * _DAY_S)
    labels = labelled.figures(
        as_of,
        horizon,
        metrics,
        budgets=decision.budgets_per_1000(),
        calibrated=scoring.calibrated,
        learned=calibration_rows(run, scoring),
    )
    mature = labelled.mature(as_of, horizon)
    if not paired or mature is None or not mature.fraud.any():
        return labels, {}
    config = run.config()
    return labels, figures_of(mature, config.evaluate.alert_minor(config.decision))


def _monitor_sections(pack: Pack, rows: Rows, options: Options, note: Note) -> dict[str, bytes]:
    """DRFT and LEVL, as far as the transactions give them."""
    found: dict[str, bytes] = {}
    assert pack.decision is not None
    with stage("what terminals count"):
        try:
            # healthy and settled: a burst of fraud, or features that are still filling, is drift
            steady = (rows.label != 1) & ~rows.cold
            made = drift_section(
                rows.features[steady],
                rows.own[steady],
                rows.terminal[steady],
                rows.t_s[steady],
                score_edges=[x for x in [pack.decision.alert_q32] if x is not None],
            )
            found["DRFT"] = made.encode()
            if options.levels:
                found["LEVL"] = levels_section(rows.own, pack.decision).encode()
        except InputError as error:
            note(f"{error}: the pack goes without what that would have made")
    return found


def score_bins(histogram: Histogram, rows: Rows) -> dict[str, list[int]]:
    """How many of the rows lie in each bin of the score, and their mean ``score_q32``: what a fleet
    expects of a count (:mod:`tinyfin.fleet.estimates`)."""
    score = rows.own[~rows.cold]
    bins = np.searchsorted(np.asarray(histogram.edges, np.int64), score.astype(np.int64), "right")
    counts = np.bincount(bins, minlength=histogram.bins)
    sums = np.bincount(bins, score.astype(np.float64), histogram.bins)
    means = np.round(sums / np.maximum(counts, 1)).astype(np.int64)
    return {"rows": counts.tolist(), "mean_q32": means.tolist()}


def _pack_facts(pack: Pack) -> PackFacts:
    from tinyfin.formats import ProgramHeader

    network = pack.network
    assert network is not None, "quantized() and _parent() say so"
    return PackFacts(
        pack_id=pack.pack_id.hex(),
        model_id=pack.model_id.hex(),
        family=str(pack.meta.get("family", "")),
        bytes=len(pack.data),
        plan_bytes=network["plan_bytes"],
        multiplications=network["macs"],
        state_bytes=ProgramHeader.read(pack.program).state_bytes,
        security_counter=pack.security_counter,
        signed_by=f"{pack.key_id:08x}" + (" (development)" if pack.development else ""),
    )


def _write_pack(path: Path, pack: Pack | None, key: Key | None) -> None:
    """The pack, its key and its layouts; what an earlier release left is gone in any case."""
    remembered = path.with_name(PUBLIC_KEY_FILE)
    for old in (path, remembered):
        old.unlink(missing_ok=True)
    remove_layouts(path)
    if pack is None:
        return
    files.write(path, pack.data)
    if key is not None and key.public != DEVELOPMENT_KEY.public:
        save_public_key(key.public, remembered)
        write_layouts(path, key=key)


def _cost(own: Path, parent: Path, target: str, keys: Sequence[bytes]) -> TargetCost:
    from tinyfin.measure.pack_costs import Budget, budget, default_data

    with stage(target):
        a, b = (budget(pack, target, tx=default_data(), keys=keys) for pack in (parent, own))

    def pair(of: Callable[[Budget], float]) -> Pair:
        return Pair(a=of(a), b=of(b), difference=of(b) - of(a))

    return TargetCost(
        target=target,
        flash_bytes=pair(lambda one: one.image.flash_bytes),
        instructions_median=pair(
            lambda one: one.instructions.median if one.instructions else float("nan")
        ),
    )
