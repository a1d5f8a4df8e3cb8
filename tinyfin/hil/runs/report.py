# SPDX-License-Identifier: Apache-2.0
"""The HTML report of a rig's run: the report of its replays, and what the bench did around them."""

from __future__ import annotations

import shlex
from pathlib import Path

from tinyfin.hil.replay.facts import ReplayFacts
from tinyfin.hil.reporting.page import write
from tinyfin.hil.reporting.report import ExtraBlock, ExtraSection
from tinyfin.hil.runs.results import RigResult, TargetResult

__all__ = ["write_report"]


def write_report(path: Path, result: RigResult) -> Path:
    """Write ``path`` and its facts as ``report.json`` next to it. It fails unless all cases passed.

    Raises InputError when a file cannot be written.
    """
    run = Path(result.run)
    return write(
        path,
        replay=_replays(result) or None,
        run_dir=run if run.is_dir() else None,
        title=f"tinyfin rig {result.rig}",
        date=result.started,
        commands=_commands(result),
        more=[_cases(result), *_ladders(result)],
    )


def _replays(result: RigResult) -> list[ReplayFacts]:
    """One per case: the replay's own numbers, or the error that kept it from having any."""
    made = []
    for target in result.targets:
        kind = f"emulated: {target.target}" if target.emulated else f"board: {target.target}"
        for at, case in enumerate(target.cases):
            if at < 3 and case.failure is None:
                continue  # flash, boot and self-test replay nothing
            if case.status == "skipped":
                continue
            facts = case.facts.model_copy()
            facts.target, facts.emulator = f"{target.name}/{case.name}", kind
            if case.failure is not None:
                facts.error = str(case.failure)
            made.append(facts)
    return made


def _cases(result: RigResult) -> ExtraSection:
    rows = [
        [
            target.name,
            case.name,
            case.status,
            str(case.failure.kind) if case.failure else "",
            f"{case.seconds:.1f}",
            case.failure.message if case.failure else case.note,
        ]
        for target in result.targets
        for case in target.cases
    ]
    columns = ["target", "case", "status", "kind", "seconds", "what"]
    block = ExtraBlock(caption="What had to be proven", columns=columns, rows=rows)
    return ExtraSection(title="Cases", blocks=[block])


def _ladders(result: RigResult) -> list[ExtraSection]:
    rows = [
        [target.name, str(step.at_s), step.rung, step.outcome, step.why]
        for target in result.targets
        for step in target.ladder
    ]
    if not rows:
        return []
    columns = ["target", "at s", "reset", "outcome", "because"]
    block = ExtraBlock(caption="The ladder", columns=columns, rows=rows)
    return [ExtraSection(title="Resets that were needed", blocks=[block])]


def _commands(result: RigResult) -> list[str]:
    words = ["tinyfin", "hil", "run", "--rig", result.rig_file, "--run", result.run]
    for name, value in {"suite": result.suites, **result.options}.items():
        if value is True:
            words.append(f"--{name}")
        elif value:
            several = value if isinstance(value, list | tuple) else (value,)
            for one in several:
                words += [f"--{name}", f"{one:g}" if isinstance(one, float) else str(one)]
    return [shlex.join(words), *(_playback(t, result) for t in result.targets if t.transcript)]


def _playback(target: TargetResult, result: RigResult) -> str:
    path = result.files.get(f"transcript {target.name}", target.transcript or "")
    return shlex.join(["tinyfin", "hil", "playback", path, "--run", result.run])
