# SPDX-License-Identifier: Apache-2.0
"""OpenLineage events (openlineage.io/spec, 2-0-2) of a command: to a file, a JSON line each, or to
a server."""

from __future__ import annotations

import datetime as dt
import json
import platform
import re
import shlex
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from tinyfin import __version__, progress
from tinyfin.cli.recording import LINEAGE, Call
from tinyfin.errors import InputError, TinyfinError

__all__ = ["event", "reported", "without_secrets"]

_SPEC = "https://openlineage.io/spec/"
_CORE = f"{_SPEC}2-0-2/OpenLineage.json#/$defs/"
_PRODUCER = f"pkg:generic/tinyfin@{__version__}"
_DEADLINE_S = 10.0

Json: TypeAlias = dict[str, object]


@contextmanager
def reported(call: Call, place: str) -> Iterator[None]:
    """START now, and how it ended at the end of the block, to a file or URL. Raises InputError for
    a file that cannot be written; a server that is away, and what fails at the end, is a warning:
    the work counts."""
    run = str(uuid.uuid4())
    if not _is_url(place):
        try:
            Path(place).open("a").close()
        except OSError as error:
            raise InputError(
                f"{place}: {error.strerror}; {LINEAGE} names a file that can be written, or a URL"
            ) from error
    _send(call, "START", run, place)
    try:
        yield
    finally:
        ended = "ABORT" if call.aborted else "FAIL" if call.failure else "COMPLETE"
        _send(call, ended, run, place)


def _send(call: Call, kind: str, run: str, place: str) -> None:
    try:
        data = (json.dumps(event(call, kind, run)) + "\n").encode()
        if not _is_url(place):
            with Path(place).open("ab") as file:
                file.write(data)
            return
        head = {"Content-Type": "application/json"}
        asked = urllib.request.Request(place, data, head)
        with urllib.request.urlopen(asked, timeout=_DEADLINE_S):
            pass
    except (OSError, ValueError, TinyfinError) as error:
        where = without_secrets(place)
        progress.say(f"WARNING: {where}: has not got {kind} of {call.verb}: {error}")


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def event(call: Call, kind: str, run: str) -> Json:
    """A RunEvent of the specification. ``kind``: its eventType; ``run``: a UUID."""
    inputs = [] if kind == "START" else [_dataset(path) for path in _inputs(call)]
    outputs = [_dataset(path) for path in _outputs(call) if path.exists()]
    packs = [path for path in _outputs(call) if path.name == "model.tfpack" and path.is_file()]
    facets: Json = {
        "processing_engine": {
            **_facet("1-1-1/ProcessingEngineRunFacet"),
            "version": platform.python_version(),
            "name": "Python",
        },
        "tinyfin_run": {
            **_custom("RunFacet"),
            "version": __version__,
            "commandLine": without_secrets(shlex.join(["tinyfin", *call.words])),
            **(_pack(packs[0]) if packs else {}),
        },
    }
    if call.failure:
        facets["errorMessage"] = {
            **_facet("1-0-1/ErrorMessageRunFacet"),
            "message": without_secrets(call.failure),
            "programmingLanguage": "Python",
        }
    return {
        "eventType": kind,
        "eventTime": dt.datetime.now(dt.UTC).isoformat(),
        "producer": _PRODUCER,
        "schemaURL": f"{_CORE}RunEvent",
        "run": {"runId": run, "facets": facets},
        "job": {"namespace": "tinyfin", "name": call.verb.replace(" ", ".")},
        "inputs": inputs,
        "outputs": outputs,
    }


def without_secrets(text: str) -> str:
    """Text without what URLs hold of persons: user and password, PINs, passwords and tokens."""
    text = re.sub(r"(://)[^\s'\"]*@", r"\1***@", text)
    secret = r"(?i)((?:pin-value|pass\w*|\w*password|\w*token|secret)[= ])[^&;\s'\"]+"
    return re.sub(secret, r"\1***", text)


def _inputs(call: Call) -> Iterator[Path]:
    yield from dict.fromkeys(call.inputs)
    run = call.params.get("run")
    if run is not None:
        yield Path(str(run)) / "run.json"
    for name in ("parent", "inbox"):
        if isinstance(path := call.params.get(name), Path):
            yield path


def _outputs(call: Call) -> Iterator[Path]:
    """What a command that has its result has made."""
    if not call.result:
        return
    params, result = call.params, call.result
    run = Path(str(params.get("run") or result.get("run")))
    match call.verb:
        case "train":
            yield run / "run.json"
        case "quantize":
            yield Path(str(result["pack"]))
        case "evaluate":
            yield run / "evaluation.json"
        case "release":
            place = Path(str(params.get("out") or run / "release"))
            yield from (place / name for name in ("release.json", "model.tfpack"))
        case "retrain":
            yield from (run / name for name in ("run.json", "release/model.tfpack"))
        case "fleet ingest":
            yield Path(str(params["lake"]))


def _dataset(path: Path) -> Json:
    """A file, or a folder by its name alone."""
    facets: Json = {}
    if path.is_file():
        from tinyfin.training.run_folder import one_file

        found = one_file(path)
        version = f"sha256:{found.sha256}"
        facets["version"] = {
            **_facet("1-0-1/DatasetVersionDatasetFacet"),
            "datasetVersion": version,
        }
        if found.dvc is not None:
            facets["tinyfin_dvc"] = {**_custom("DatasetFacet"), **found.dvc.model_dump()}
        if columns := _columns(path):
            facets["schema"] = {**_facet("1-2-0/SchemaDatasetFacet"), "fields": columns}
    return {"namespace": "file", "name": str(path.absolute()), "facets": facets}


def _columns(path: Path) -> list[Json]:
    """Columns of a file of transactions, with their types where it is Parquet; of others none."""
    import pyarrow as pa
    import pyarrow.parquet

    from tinyfin.data.tables import column_names

    with suppress(TinyfinError, pa.ArrowException, OSError, ValueError):
        names = column_names(path)
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        kinds = pa.parquet.read_schema(path) if parquet else None
        return [
            {"name": name, **({} if kinds is None else {"type": str(kinds.field(name).type)})}
            for name in names
        ]
    return []


def _pack(path: Path) -> Json:
    from tinyfin.pack.container import parse_pack

    pack = parse_pack(path.read_bytes())
    return {"packId": pack.pack_id.hex(), "parentPackId": pack.lineage.get("parent")}


def _facet(name: str) -> Json:
    file, kind = f"{_SPEC}facets/{name}.json", name.partition("/")[2]
    return {"_producer": _PRODUCER, "_schemaURL": f"{file}#/$defs/{kind}"}


def _custom(kind: str) -> Json:
    return {"_producer": _PRODUCER, "_schemaURL": f"{_CORE}{kind}"}
