# SPDX-License-Identifier: Apache-2.0
"""``tinyfin doctor``: what is missing here, and how to get it."""

from __future__ import annotations

from typing import Any

import click

from tinyfin.cli.output import emit, json_option
from tinyfin.errors import ToolError

__all__ = ["command"]


@click.command()
@click.option(
    "--port",
    help="Also ask a terminal what it lets anyone do: a serial port, socket://HOST:PORT or "
    "exec:PROGRAM.",
)
@json_option
def command(port: str | None, as_json: bool) -> None:
    """Look for the packages and programs that tinyfin uses.

    Exit code 6 when something is missing that the way from transactions to a replay on the default
    target needs. What only other targets or tinyfin's own tests need is shown as optional.

    With --port it also warns when the terminal there takes events or state from anyone.
    """
    from tinyfin.targets.doctor import examine

    findings = examine()
    lacking = [finding for finding in findings if finding.needed and not finding.found]
    lines = []
    for finding in findings:
        state = "ok" if finding.found else "MISSING" if finding.needed else "optional"
        text = finding.version if finding.found else f"{finding.why}; get it with: {finding.get}"
        lines.append(f"{state:<9} {finding.name:<26} {text}".rstrip())
    lines.append(f"{len(lacking)} missing" if lacking else "everything that is needed is here")
    facts: dict[str, Any] = {}
    if port is not None:
        facts["terminal"] = _terminal(port)
        lines.append("{state:<9} {name:<26} {text}".format(**facts["terminal"]))
    emit(
        {
            "ok": not lacking,
            "missing": [finding.name for finding in lacking],
            "findings": [finding.as_dict() for finding in findings],
            **facts,
        },
        as_json,
        "\n".join(lines),
    )
    if lacking:
        raise click.exceptions.Exit(ToolError.exit_code)


def _terminal(port: str) -> dict[str, Any]:
    """What the terminal at a port lets anybody do who reaches its line."""
    from tinyfin.hil.links.session import at_port
    from tinyfin.wire.messages import Capability

    with at_port(port) as session:
        hello = session.client.connect()
    if hello.capabilities & Capability.STATE:
        state = "WARNING"
        text = (
            "a rig's image: whoever reaches the line may score, and read and write its state; "
            "build what goes into the field with --release"
        )
    elif hello.capabilities & Capability.REPLAY:
        state = "WARNING"
        text = (
            "a release that takes events and restarts for anybody, for acceptance tests; build "
            "what goes into the field with --release alone"
        )
    else:
        state, text = "ok", "a release: it takes no events"
    return {"name": f"terminal at {session.target}", "state": state, "text": text}
