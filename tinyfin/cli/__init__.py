# SPDX-License-Identifier: Apache-2.0
"""The command line: one lazy group, one file per command.

A command is one line in :data:`VERBS` and one module that defines ``command``. ``tinyfin --help``
reads the table only, so it stays quick and needs none of the extras.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import click

from tinyfin import __version__, files, optional_packages, progress
from tinyfin.cli.ending import watch_signals
from tinyfin.cli.output import forget_claims, unchanged
from tinyfin.cli.recording import recorded
from tinyfin.errors import InputError, Interrupted, TinyfinError
from tinyfin.text import json_safe, printable

__all__ = ["VERBS", "main"]

# command, module with ``command``, one line for --help; in the order in which a user meets them
VERBS: tuple[tuple[str, str, str], ...] = (
    ("demo", "tinyfin.cli.demo", "The whole workflow, from transactions to verified verdicts."),
    ("init", "tinyfin.cli.init", "Write a firmware project of your own to begin with."),
    ("simulate", "tinyfin.cli.simulate", "Make transactions with labelled attacks."),
    ("check", "tinyfin.cli.check", "Check transactions: duplicates, gaps, silence, drift."),
    ("features", "tinyfin.cli.features", "List the catalogue of features; compute features."),
    ("convert", "tinyfin.cli.convert", "Make transactions of ISO 8583 or EMV captures."),
    ("host-fields", "tinyfin.cli.host_fields", "Add to transactions what a host would have sent."),
    ("train", "tinyfin.cli.train", "Train a model on transactions."),
    ("quantize", "tinyfin.cli.quantize", "Make the int8 .tflite and the pack of a run."),
    ("network-inputs", "tinyfin.cli.network_inputs", "Compute what the network of a run sees."),
    ("evaluate", "tinyfin.cli.evaluate", "Evaluate a run's configuration week by week."),
    ("runs", "tinyfin.cli.runs", "List the runs of a folder."),
    ("compare", "tinyfin.cli.compare", "Compare two runs on the same transactions."),
    ("score", "tinyfin.cli.score", "Score transactions on the workstation."),
    ("explain", "tinyfin.cli.explain", "Say why one event got its verdict."),
    ("serve", "tinyfin.cli.serve", "Score transactions over HTTP, as they come in."),
    ("serve-host", "tinyfin.cli.serve_host", "The host's fields of cards over HTTP."),
    ("monitor", "tinyfin.cli.monitor", "Look at the pack of a run on later transactions."),
    ("release", "tinyfin.cli.release", "Judge a pack against the one that it is to replace."),
    ("retrain", "tinyfin.cli.retrain", "From a request to a candidate in the registry."),
    ("registry", "tinyfin.cli.registry", "Packs, who approved them, where they are in service."),
    ("keygen", "tinyfin.cli.keygen", "Make a key: to sign, to seal, for terminals."),
    ("keys", "tinyfin.cli.keys", "Say which keys terminals trust: make, show, install."),
    ("repack", "tinyfin.cli.repack", "Give the pack of a run another decision."),
    ("sign", "tinyfin.cli.sign", "Sign a pack: key, security counter, weight layouts."),
    ("seal", "tinyfin.cli.seal", "Encrypt a pack or a state image on its way to a terminal."),
    ("inspect", "tinyfin.cli.inspect", "Explain a pack or a .tflite."),
    ("codegen", "tinyfin.cli.codegen", "Write the C that a firmware project links."),
    ("build", "tinyfin.cli.build", "Build the firmware of a run for a target."),
    ("budget", "tinyfin.cli.budget", "Flash, RAM, stack and instructions of a pack, per target."),
    ("flash", "tinyfin.cli.flash", "Put the firmware of a run on a target."),
    ("install", "tinyfin.cli.install", "Put a pack into a terminal in service, over the wire."),
    ("slots", "tinyfin.cli.slots", "Show the packs that a terminal holds; confirm or revert one."),
    ("provision", "tinyfin.cli.provision", "Give a terminal its id and its secrets, once."),
    ("command", "tinyfin.cli.command", "Signed commands to terminals in service."),
    ("notices", "tinyfin.cli.notices", "Signed notices of fraud to a terminal in service."),
    ("audit", "tinyfin.cli.audit", "Read and verify the audit log of a terminal."),
    ("report", "tinyfin.cli.report", "Read and show a report of a terminal."),
    ("fleet", "tinyfin.cli.fleet", "Keep the reports of many terminals, and ask them."),
    ("replay", "tinyfin.cli.replay", "Replay transactions on a target and compare every byte."),
    ("hil", "tinyfin.cli.hil", "Run the targets of a rig: flash, replay, compare, report."),
    ("state", "tinyfin.cli.state", "Show, erase, make and move what a terminal remembers."),
    ("bench", "tinyfin.cli.bench", "Run any int8 .tflite on a target: bytes, instructions, sizes."),
    ("targets", "tinyfin.cli.targets", "List the targets."),
    ("doctor", "tinyfin.cli.doctor", "Say what is missing here and how to get it."),
)

EPILOG = """\b
Exit codes:
  0  done
  2  usage
  3  bad input: data, config, pack or model
  4  answers differ, or a gate or check failed
  5  target or link does not answer
  6  a needed tool is missing or failed
  7  does not fit
  130  interrupted (Ctrl-C); 143 terminated (SIGTERM)
"""


class _Verbs(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verb, _, _ in VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for verb, module, _ in VERBS:
            if verb == cmd_name:
                command = importlib.import_module(module).command
                if not isinstance(command, click.Command):
                    raise TypeError(f"{module}.command is not a click command")
                command.name = verb
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, _, line in VERBS])

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run a command. An error prints ``error: ...`` on stderr and sets the exit code."""
        words = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in words
        forget_claims()
        if args is None:
            watch_signals()
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):  # a console may lack a character
                    stream.reconfigure(errors="backslashreplace")
        try:
            with progress.showing(progress.Screen()), recorded(words):
                return super().main(words, *rest, **extra)
        except TinyfinError as error:
            _fail(error, as_json)
        except OSError as error:
            if error.filename is None and error.errno not in files.FULL:
                raise
            where = error.filename or tempfile.gettempdir()
            text = f"{where}: {error.strerror}; check the path, the right to use it and free space"
            _fail(InputError(text), as_json)
        except ModuleNotFoundError as error:
            missing = (error.name or "").split(".")[0]
            if not optional_packages.extra_of(missing):
                raise
            _fail(optional_packages.missing(missing), as_json)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click itself would make exit code 1 of Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; unfinished files are removed") from None


def _fail(error: TinyfinError, as_json: bool) -> None:
    if as_json:
        report = {
            "error": {
                "kind": type(error).__name__,
                "message": str(error),
                "exit_code": error.exit_code,
            }
        }
        click.echo(json_safe(json.dumps(report, indent=2)))
    click.echo(f"error: {printable(str(error))}", err=True)
    for path in unchanged():
        click.echo(f"{printable(path)} is unchanged", err=True)
    sys.exit(error.exit_code)


@click.group(
    cls=_Verbs,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="tinyfin", message="%(prog)s %(version)s")
def main() -> None:
    """Small anomaly models on payment transactions, from training to the payment terminal."""
