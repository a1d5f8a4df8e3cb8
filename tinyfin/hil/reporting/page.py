# SPDX-License-Identifier: Apache-2.0
"""The report of a replay: one HTML file that needs nothing else, its facts as JSON next to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyfin import files
from tinyfin.errors import InputError
from tinyfin.hil.failures import NOT_REACHED
from tinyfin.hil.reporting.facts import collect
from tinyfin.hil.reporting.sections import first_differences, headline, sections
from tinyfin.pages.render import Headline, page
from tinyfin.text import json_safe

if TYPE_CHECKING:
    from tinyfin.data.transactions import Transactions

__all__ = ["EXAMPLE_HZ", "render", "write"]

EXAMPLE_HZ = 100_000_000
"""The clock at which instructions are shown as a time, an assumption named as such."""


def write(
    path: str | Path,
    *,
    replay: Any,
    run_dir: str | Path | None = None,
    tx: Transactions | None = None,
    sizes: Mapping[str, Mapping[str, Any]] | None = None,
    commands: Sequence[str] = (),
    date: str | None = None,
    title: str = "tinyfin replay",
    more: Sequence[Mapping[str, Any]] = (),
    example_hz: int = EXAMPLE_HZ,
    json_path: str | Path | None = None,
) -> Path:
    """Write the report to ``path`` and its facts to ``json_path`` (``path`` with ``.json``).

    replay: a :class:`tinyfin.hil.replay.ReplayResult`, its ``as_dict()``, or a list of them, one
        per target; None says that nothing was replayed. Only a ReplayResult holds the verdicts
        that alerts and score pictures are made of.
    run_dir: the run's folder; tx: the replayed transactions, whose rows ``ReplayResult.row`` names.
    sizes: per target what else is known of ``flash_bytes``, ``ram_bytes``, ``stack_bytes``.
    commands: how to do it again; made from the run when empty.
    date: shown as given, and left out when None: the same arguments give the same bytes.
    more: further sections: ``{"title": ..., "blocks": [{"text": ...} | {"caption": ..., "columns":
        [...], "rows": [[...]]} | {"code": [...]}]}``.

    The verdict is FAIL unless every check is proven by a number. What cannot be said is listed
    under "Not measured". Raises InputError when a file cannot be written.
    """
    if replay is None:
        replays: list[Any] = []
    elif isinstance(replay, (list, tuple)):
        replays = list(replay)
    else:
        replays = [replay]
    facts = collect(
        replays,
        run_dir=None if run_dir is None else Path(run_dir),
        tx=tx,
        sizes=sizes,
        commands=commands,
        date=date,
        title=title,
        more=more,
        example_hz=example_hz,
    )
    html_path = Path(path)
    facts_path = html_path.with_suffix(".json") if json_path is None else Path(json_path)
    if facts_path == html_path:
        raise InputError(f"{html_path}: HTML and JSON have the same name; give another json_path")
    content = json_safe(json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"
    for target, text in ((facts_path, content), (html_path, render(facts))):
        files.write(target, text, make_folder=True)
    return html_path


def render(facts: Mapping[str, Any]) -> str:
    """The HTML of a report's facts, as they are in its JSON."""
    verdict = facts["verdict"]
    title = "PASS" if verdict["pass"] else "FAIL"
    subtitle = [
        facts["date"] or "",
        f"run {facts['run']['name']}" if facts["run"] else "",
        ", ".join(target["name"] for target in facts["targets"]) or "no target",
    ]
    return page(
        facts["title"],
        window_title=f"{title}: {facts['title']}",
        subtitle=" · ".join(part for part in subtitle if part),
        verdict=Headline(title, verdict["pass"], _lines(facts), verdict["checks"]),
        headline=headline(facts),
        sections=sections(facts),
        facts_file="the JSON file",
    )


def _lines(facts: Mapping[str, Any]) -> list[str]:
    verdict = facts["verdict"]
    if verdict["pass"]:
        return [
            "Everything the terminal computed equals the workstation's, byte for byte, and nothing "
            "was lost."
        ]
    errors = {
        str(r.get("target", "target")): str(r["error"]) for r in facts["replays"] if r.get("error")
    }
    later = [name for name, error in errors.items() if NOT_REACHED in error]
    lines = [f"{name}: {error}" for name, error in errors.items() if name not in later]
    if later:
        lines.append(f"Not reached: {', '.join(later)}.")
    # what ended with an error proves nothing else either
    failed = [
        check["name"]
        for check in verdict["checks"]
        if not check["ok"] and check["name"].split(": ")[0] not in {*errors, "error"}
    ]
    if failed or not errors:
        lines.append(f"Not proven: {', '.join(failed) or 'nothing was checked'}.")
    return [*lines, *first_differences(facts)]
