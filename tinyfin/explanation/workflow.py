# SPDX-License-Identifier: Apache-2.0
"""One event explained, from files to :class:`tinyfin.results.explanation.Explanation`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config
from tinyfin.data.events import Notices
from tinyfin.data.memory_tables import Sources, as_files
from tinyfin.data.transactions import format_time
from tinyfin.errors import MismatchError
from tinyfin.explanation.changes import changes
from tinyfin.explanation.event import Terminal, find_event
from tinyfin.explanation.shapley import contributions, reason_ids, shapley_values, strongest
from tinyfin.features.catalogue.reasons import own_texts, reason_code, reason_text
from tinyfin.features.selection import select
from tinyfin.optional_packages import require
from tinyfin.pack.maps import map_inputs
from tinyfin.progress import stage
from tinyfin.results.explanation import ExplainedFeature, Explanation, ReasonText
from tinyfin.training.notices import STATUSES, KnownLabels
from tinyfin.training.run_folder import RunFolder, open_run
from tinyfin.training.scoring import Scoring
from tinyfin.twin import ADVICE, FLAGS, Twin

__all__ = ["explain"]


def explain(
    run: RunFolder | str | Path,
    data: Sources,
    event: str | int,
    *,
    warmup: Sources = (),
    config_path: str | Path | None = None,
    notices: Notices | None = None,
    skip_bad_rows: str | Path | None = None,
    keys: Sequence[bytes] = (),
    note: Callable[[str], None] = lambda _: None,
) -> Explanation:
    """Why the pack of ``run`` gives one event of ``data`` its verdict.

    ``event``: a row of ``data`` from 0, as ``input_row`` of the scores; or a text: ``row:N``,
    ``id:ID``, ``TERMINAL@TIME`` (ISO 8601, UTC), or a row or id alone where only one is meant.
    The other arguments are those of :func:`tinyfin.training.scoring.score`. Raises what that
    raises, InputError unless ``event`` is exactly one transaction, ToolError without the package
    shap, and MismatchError where the Shapley values do not add up.
    """
    require(("shap",), "for Shapley values")
    run = open_run(run)
    with as_files(warmup) as before, as_files(data) as paths:
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
        terminal = find_event(scoring, event)
    with stage("explaining"):
        return _explained(run, scoring, terminal)


def _explained(run: RunFolder, scoring: Scoring, terminal: Terminal) -> Explanation:
    pack, decision, tx, at = scoring.pack, scoring.pack.decision, terminal.tx, terminal.at
    assert pack.maps is not None  # Scoring.open refuses other packs
    assert decision is not None
    answer, twin = terminal.verdict(), Twin(pack.data, keys=scoring.keys)

    def score(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
        return twin.infer(codes)[1]

    inputs = map_inputs(pack.maps, answer.features)
    shapley = shapley_values(run, score, inputs, answer.raw)
    own, ids = contributions(score, inputs, decision)[0], reason_ids(decision, inputs)[0]
    given = answer.reasons[0, : answer.reason_count[0]].tolist()
    alert_q32, score_q32 = decision.alert_q32, int(answer.score_q32[0])
    alert = alert_q32 is not None and score_q32 >= alert_q32
    if alert and strongest(own, ids) != given:
        raise MismatchError(
            f"{run.pack}: the contributions give the reasons {strongest(own, ids)}, and the device "
            f"gives {given}; do not use this pack, and report it"
        )
    texts = own_texts(pack.meta)

    def reason(number: int) -> ReasonText:
        return ReasonText(code=reason_code(number), text=reason_text(number, texts) or "unknown")

    medians = run.slices("medians")["medians"]
    features = [
        ExplainedFeature(
            feature=f.name,
            definition=f.definition,
            value=int(answer.features[0, i]),
            usual=f.usual(int(medians[i])),
            contribution=int(own[i]),
            shapley=float(shapley.values[0, i]),
            standard_error=float(shapley.standard_error[0, i]),
            reason=reason(int(ids[i])) if ids[i] else None,
        )
        for i, f in enumerate(select(run.config().features))
    ]
    cuts = {
        "go_online": None if decision.never_online else decision.go_online_q32,
        "verify": decision.verify_q32,
        "decline": None if decision.never_decline else decision.decline_q32,
    }
    status = scoring.feed.status(scoring.given, *KnownLabels(1, scoring.given).ages(tx))
    return Explanation(
        run=run.name,
        pack_id=pack.pack_id.hex(),
        model_id=pack.model_id.hex(),
        lineage=pack.lineage,
        row=int(tx.row[at]) - scoring.first,
        id=int(tx.id[at]),
        terminal=tx.terminals[0],
        time=format_time(int(tx.t_mono_s[at])),
        notices=STATUSES[int(status[at])],
        fields={
            f.name: f.values[value] if f.type == "enum" else value
            for f in tx.schema.fields
            if tx.has(f.name)[at] and not f.ram_only and f.unit != "token"
            for value in [int(tx.column(f.name)[at])]
        },
        advice=ADVICE[int(answer.advice[0])],
        score=score_q32 / 2**32,
        probability=scoring.calibrated,
        raw=int(answer.raw[0]),
        thresholds={name: cut / 2**32 for name, cut in cuts.items() if cut is not None},
        flags=[name for bit, name in FLAGS.items() if int(answer.flags[0]) & bit],
        reasons=[reason(number) for number in given],
        features=sorted(features, key=lambda f: -abs(f.shapley)),
        method=shapley.method,
        background_rows=shapley.background,
        base=shapley.base,
        bound=shapley.bound,
        changes=[*changes(terminal, alert_q32, _decimals(scoring.config))]
        if alert and alert_q32 is not None
        else [],
    )


def _decimals(config: Config) -> int | None:
    """Of amounts in the files; None where they are in minor units."""
    column = config.data.resolved(config.schema).get("amount_minor")
    if column is None or column.unit != "major":
        return None
    return 2 if column.exponent is None else column.exponent
