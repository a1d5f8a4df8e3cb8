# SPDX-License-Identifier: Apache-2.0
"""What the command that runs reads and makes, for lineage and traces (docs/lineage.md): the one
place that knows which commands are recorded. Without their variables nothing is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tinyfin.errors import Interrupted

__all__ = ["LINEAGE", "TRACES", "Call", "emitted", "recorded", "takes"]

LINEAGE, TRACES = "TINYFIN_LINEAGE", "TINYFIN_TRACES"
_INGEST = ("fleet", "ingest")
_RETRAIN = ("retrain",)
_TRACED = (_INGEST, ("fleet", "campaign", "tick"), _RETRAIN)
_LINEAGE = (("train",), ("quantize",), ("evaluate",), ("release",), _RETRAIN, _INGEST)


@dataclass
class Call:
    """A command that runs."""

    verb: str
    words: Sequence[str]
    """The command line, without ``tinyfin``."""
    inputs: list[Path] = field(default_factory=list)
    """Files of transactions that it was given."""
    params: Mapping[str, object] = field(default_factory=dict)
    result: Mapping[str, object] = field(default_factory=dict)
    """What it gives with ``--json``; empty when it ended before."""
    failure: str = ""
    """Why it ended, if it failed."""
    aborted: bool = False


_call: Call | None = None


def takes(path: Path) -> None:
    """The command was given a file of transactions."""
    if _call is not None:
        _call.inputs.append(path)


def emitted(result: Mapping[str, object], params: Mapping[str, object]) -> None:
    """The command has its result."""
    if _call is not None:
        _call.result, _call.params = result, params


@contextmanager
def recorded(words: Sequence[str]) -> Iterator[None]:
    """Record the command of the block where the environment asks for it. Raises InputError,
    ToolError before it begins; what fails later is a warning."""
    global _call
    with ExitStack() as stack:
        verbs = [verb for verb in {*_TRACED, *_LINEAGE} if tuple(words[: len(verb)]) == verb]
        if not verbs or {"--help", "-h"} & {*words}:
            yield
            return
        call = Call(" ".join(verbs[0]), words)
        if verbs[0] in _LINEAGE and (place := os.environ.get(LINEAGE)):
            from tinyfin.cli.lineage import reported

            stack.enter_context(reported(call, place))
        if verbs[0] in _TRACED and (place := os.environ.get(TRACES)):
            from tinyfin.cli.traces import traced

            stack.enter_context(traced(call, place))
        _call = call
        try:
            yield
        except SystemExit as end:
            call.failure = f"exit code {end.code}" if end.code else ""
            raise
        except BaseException as error:
            call.failure = str(error) or type(error).__name__
            call.aborted = isinstance(error, (KeyboardInterrupt, Interrupted))
            raise
        finally:
            _call = None
