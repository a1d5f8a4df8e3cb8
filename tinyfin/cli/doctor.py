# SPDX-License-Identifier: Apache-2.0
"""``tinyfin doctor``: what is missing here, and how to get it."""

from __future__ import annotations

import click

from tinyfin.cli.output import emit, json_option
from tinyfin.errors import ToolError

__all__ = ["command"]


@click.command(name="doctor", short_help="Say what is missing here and how to get it.")
@json_option
def command(as_json: bool) -> None:
    """Look for the packages and programs that tinyfin uses.

    Exit code 6 when something is missing that the road from transactions to a replay on the
    default target needs; what only other targets or tinyfin's own tests need is shown as optional.
    """
    from tinyfin.targets.doctor import examine

    findings = examine()
    lacking = [finding for finding in findings if finding.needed and not finding.found]
    lines = []
    for finding in findings:
        state = "ok" if finding.found else "MISSING" if finding.needed else "optional"
        told = finding.version if finding.found else f"{finding.why}; get it with: {finding.get}"
        lines.append(f"{state:<9} {finding.name:<26} {told}".rstrip())
    lines.append(f"{len(lacking)} missing" if lacking else "everything that is needed is here")
    emit(
        {
            "ok": not lacking,
            "missing": [finding.name for finding in lacking],
            "findings": [finding.as_dict() for finding in findings],
        },
        as_json,
        "\n".join(lines),
    )
    if lacking:
        raise click.exceptions.Exit(ToolError.exit_code)
