# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry spans of a command and of its stages. They carry counts alone: no text of a result,
so no id of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tinyfin import __version__, optional_packages, progress
from tinyfin.cli.recording import TRACES, Call
from tinyfin.errors import InputError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

__all__ = ["counts", "traced"]

_DEADLINE_S = 10


@contextmanager
def traced(call: Call, place: str) -> Iterator[None]:
    """A span for the block, and one in it for each stage of progress, to a file, a JSON line each,
    or to a collector's URL (OTLP over HTTP). Raises InputError, ToolError before the block."""
    optional_packages.require(["opentelemetry"], f"for {TRACES}")
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    with ExitStack() as stack:
        names = {"service.name": "tinyfin", "service.version": __version__}
        provider = TracerProvider(resource=Resource(names), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(_exporter(place, stack)))
        stack.callback(provider.shutdown)
        tracer = provider.get_tracer("tinyfin", __version__)
        root = tracer.start_span(f"tinyfin {call.verb}")
        spans: dict[progress.Stage, Span] = {}

        def watch(stage: progress.Stage, begins: bool) -> None:
            if begins:
                above = root if stage.outer is None else spans.get(stage.outer, root)
                spans[stage] = tracer.start_span(stage.what, set_span_in_context(above))
            elif (span := spans.pop(stage, None)) is not None:
                span.set_attribute("done", stage.done)
                span.end()

        try:
            with progress.watched(watch):
                yield
        finally:
            root.set_attributes(counts(call.result))
            if call.failure:
                root.set_status(Status(StatusCode.ERROR))
            root.end()


def counts(result: Mapping[str, object]) -> dict[str, int]:
    """The whole numbers of a result, the sums of its counts by name, and the lengths of its
    lists."""
    found = {}
    for name, value in result.items():
        if isinstance(value, Mapping) and all(isinstance(one, int) for one in value.values()):
            found[name] = sum(value.values())
        elif isinstance(value, int):
            found[name] = int(value)
        elif isinstance(value, list):
            found[name] = len(value)
    return found


def _exporter(place: str, stack: ExitStack) -> SpanExporter:
    if place.startswith(("http://", "https://")):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(place, timeout=_DEADLINE_S)
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    try:
        file = stack.enter_context(Path(place).open("a", encoding="utf-8"))  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"{place}: {error.strerror}; {TRACES} names a file that can be written, or a URL"
        ) from error
    return ConsoleSpanExporter(out=file, formatter=lambda span: f"{span.to_json(indent=None)}\n")
