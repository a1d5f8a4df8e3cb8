# SPDX-License-Identifier: Apache-2.0
"""docs/lineage.md: OpenLineage events, judged by the classes of openlineage-python; what DVC
tracks; and spans, read as a collector gets them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin import progress, simulator
from tinyfin.cli import recording
from tinyfin.cli.lineage import without_secrets
from tinyfin.cli.traces import counts
from tinyfin.config import Simulate
from tinyfin.data.dvc import tracked
from tinyfin.errors import InputError, Interrupted
from tinyfin.pack.container import open_pack

pytestmark = pytest.mark.xdist_group("lineage")

CONFIG = """
[features]
names = ["amt_log", "amt_dev"]

[model]
family = "boosted"
options = {trees = 4, depth = 2}

[train]
until = "2025-01-26"
"""
DVC = "outs:\n- md5: {md5}\n  size: 8\n  hash: md5\n  path: {path}\n"
"""As DVC 3.67 writes it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, trained and quantized with lineage.jsonl, on a file that DVC tracks in another
    state."""
    folder = tmp_path_factory.mktemp("lineage")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(recording.LINEAGE, "lineage.jsonl")
        settings = Simulate.model_validate({"terminals": 8, "days": 27, "seed": 5})
        simulator.write(simulator.simulate(settings), folder / "tx.parquet")
        Path("tinyfin.toml").write_text(CONFIG)
        Path("tx.parquet.dvc").write_text(DVC.format(md5="0" * 32, path="tx.parquet"))
        said = tinyfin("train tx.parquet --config tinyfin.toml --name first", code=None)
        assert said.exit_code == 0, said.output
        Path("said").write_text(said.output)
        tinyfin("quantize runs/first")
        tinyfin("evaluate runs/none --track sqlite://me:secret@/x.db", code=3)
    return folder


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def judge(event: dict[str, Any]) -> None:
    """Every key is one that the classes of OpenLineage have, and every value one that they take;
    a facet of our own is what any facet is."""
    from openlineage.client import event_v2, facet_v2

    modules = {
        "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
        "schema": facet_v2.schema_dataset.SchemaDatasetFacet,
        "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
        "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
    }

    def facets(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
        for name, facet in found.items():
            rest = {k: v for k, v in facet.items() if not k.startswith("_")}
            assert facet["_producer"] == event["producer"]
            if name in modules:
                assert facet["_schemaURL"] == modules[name]._get_schema()
                if name == "schema":
                    rest["fields"] = [
                        facet_v2.schema_dataset.SchemaDatasetFacetFields(**one)
                        for one in rest["fields"]
                    ]
                modules[name](**rest)
            else:
                assert name.startswith("tinyfin_")
                assert facet["_schemaURL"].startswith(event["schemaURL"].partition("#")[0])
        return {}

    def datasets(kind: Any, rows: list[dict[str, Any]]) -> list[Any]:
        return [kind(**{**row, "facets": facets(row["facets"])}) for row in rows]

    run = event["run"]
    made = event_v2.RunEvent(
        eventType=event_v2.RunState[event["eventType"]],
        eventTime=event["eventTime"],
        run=event_v2.Run(run["runId"], facets(run["facets"])),
        job=event_v2.Job(**event["job"]),
        producer=event["producer"],
        inputs=datasets(event_v2.InputDataset, event["inputs"]),
        outputs=datasets(event_v2.OutputDataset, event["outputs"]),
    )
    assert event["schemaURL"] == made.schemaURL


def test_events_of_a_run(place: Path) -> None:
    found = events(place / "lineage.jsonl")
    for event in found:
        judge(event)
    kinds = [(event["job"]["name"], event["eventType"]) for event in found]
    assert kinds == [
        ("train", "START"),
        ("train", "COMPLETE"),
        ("quantize", "START"),
        ("quantize", "COMPLETE"),
        ("evaluate", "START"),
        ("evaluate", "FAIL"),
    ]
    ids = [event["run"]["runId"] for event in found]
    assert ids[::2] == ids[1::2]
    assert len({*ids}) == 3
    _, trained, _, quantized, _, failed = found
    [data] = trained["inputs"]
    digest = hashlib.sha256((place / "tx.parquet").read_bytes()).hexdigest()
    assert data["name"] == str(place / "tx.parquet")
    assert data["facets"]["version"]["datasetVersion"] == f"sha256:{digest}"
    fields = {one["name"]: one["type"] for one in data["facets"]["schema"]["fields"]}
    assert fields["amount_minor"].startswith("int")
    assert trained["outputs"] == quantized["inputs"]
    pack = open_pack(place / "runs" / "first" / "model.tfpack")
    assert quantized["run"]["facets"]["tinyfin_run"]["packId"] == pack.pack_id.hex()
    assert "no such run folder" in failed["run"]["facets"]["errorMessage"]["message"]
    assert "secret" not in (place / "lineage.jsonl").read_text()


def test_an_event_that_is_wrong_is_noticed(place: Path) -> None:
    event = events(place / "lineage.jsonl")[1]
    with pytest.raises(ValueError, match="UUID"):
        judge({**event, "run": {**event["run"], "runId": "one"}})
    data = event["inputs"][0]
    data["facets"]["version"]["hash"] = data["facets"]["version"].pop("datasetVersion")
    with pytest.raises(TypeError):
        judge(event)


def test_what_dvc_has_is_in_the_run(place: Path) -> None:
    [file] = json.loads((place / "runs/first/run.json").read_text())["data"]["files"]
    assert file["dvc"] == {"file": str(place / "tx.parquet.dvc"), "md5": "0" * 32, "matches": False}
    assert (place / "said").read_text().count("tx.parquet: differs from what") == 1


@pytest.mark.parametrize("old", [False, True])
def test_how_dvc_names_a_file(tmp_path: Path, old: bool) -> None:
    """Files as DVC 3.67 has written them for these commands: add tx.csv; add parts; repro of a
    stage; and one of DVC 2."""
    (tmp_path / ".dvc").mkdir()
    for folder in ("data", "parts"):
        (tmp_path / folder).mkdir()
    data = tmp_path / "data" / "tx.csv"
    data.write_bytes(b"a,b\n1,2\n")
    md5 = hashlib.md5(data.read_bytes()).hexdigest()
    assert md5 == "e5ebd4c02cefbe7955977c67ada242b7"
    assert tracked(data, md5) is None
    text = DVC.format(md5=md5, path="tx.csv").replace(
        "  hash: md5\n", "" if old else "  hash: md5\n"
    )
    mark = tmp_path / "data" / "tx.csv.dvc"
    mark.write_text(text)
    assert tracked(data, md5) == (str(mark), md5, True)
    assert tracked(data, "0" * 32) == (str(mark), md5, None if old else False)
    parts = tmp_path / "parts.dvc"
    kept = "cf3c9c616dc41d4f7c84ebc5feaa6c63.dir"
    parts.write_text(f"outs:\n- md5: {kept}\n  size: 8\n  nfiles: 1\n  hash: md5\n  path: parts\n")
    assert tracked(tmp_path / "parts" / "a.csv", md5) == (str(parts), kept, None)
    lock = tmp_path / "dvc.lock"
    lock.write_text(
        "schema: '2.0'\nstages:\n  make:\n    cmd: cp data/tx.csv out.csv\n    deps:\n"
        f"    - path: data/tx.csv\n      hash: md5\n      md5: {md5}\n      size: 8\n    outs:\n"
        f"    - path: data/out.csv\n      hash: md5\n      md5: {md5}\n      size: 8\n"
    )
    assert tracked(tmp_path / "data" / "out.csv", md5) == (str(lock), md5, True)
    assert tracked(tmp_path / "data" / "other.csv", md5) is None
    for bad in ("outs: [", "- 1\n", "outs: 5\n", "\xff"):
        mark.write_bytes(bad.encode("latin-1"))
        with pytest.raises(InputError, match="dvc status"):
            tracked(data, md5)


class Taker(HTTPServer):
    """A server that keeps what is posted."""

    def __init__(self, status: int) -> None:
        self.got: list[bytes] = []
        taker = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                taker.got.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/x"


@pytest.fixture(params=[200])
def taker(request: pytest.FixtureRequest) -> Iterator[Taker]:
    server = Taker(request.param)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lake(tmp_path: Path) -> SimpleNamespace:
    """A lake with eight reports in its inbox."""
    made = bench.new_lake(tmp_path / "lake")
    for i, data in enumerate(bench.fleet(4, 2)):
        (made.inbox / f"{i}").write_bytes(data)
    return SimpleNamespace(path=made.path, keys=bench.key_file(tmp_path))


def test_ingest_tells_a_server(
    lake: SimpleNamespace, taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(recording.LINEAGE, taker.url)
    tinyfin("fleet ingest", lake.path, "--report-keys", lake.keys)
    start, end = map(json.loads, taker.got)
    for event in (start, end):
        judge(event)
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert end["outputs"] == [{"namespace": "file", "name": str(lake.path), "facets": {}}]
    assert not any(bench.terminal(i).hex() in str(taker.got) for i in range(4))


@pytest.mark.parametrize("taker", [500], indirect=True)
def test_a_server_that_fails_is_a_warning(
    lake: SimpleNamespace, taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(recording.LINEAGE, taker.url)
    said = tinyfin("fleet ingest", lake.path, "--report-keys", lake.keys).output
    assert said.count("WARNING") == 2
    monkeypatch.setenv(recording.LINEAGE, "/nowhere/lineage.jsonl")
    assert "can be written" in tinyfin("fleet ingest", lake.path, code=3).output


def test_how_a_command_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(recording.LINEAGE, str(tmp_path / "l"))
    for error in (SystemExit(0), SystemExit(4), Interrupted("stop"), KeyError("x")):
        with pytest.raises(type(error)), recording.recorded(["train"]):
            raise error
    with recording.recorded(["train", "--help"]), recording.recorded(["runs"]):
        pass
    found = [event["eventType"] for event in events(tmp_path / "l")]
    assert found[1::2] == ["COMPLETE", "FAIL", "ABORT", "FAIL"]


def test_secrets_are_left_out() -> None:
    text = "x --track http://me:a/b@host/x 'pkcs11:object=k?pin-value=1234' --token 12ab"
    assert without_secrets(text) == (
        "x --track http://***@host/x 'pkcs11:object=k?pin-value=***' --token ***"
    )


def test_spans_of_ingest(
    lake: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    monkeypatch.setattr("tinyfin.cli.traces._exporter", lambda place, stack: kept)
    monkeypatch.setenv(recording.TRACES, "spans.jsonl")
    facts = tinyfin_json("fleet ingest", lake.path, "--report-keys", lake.keys)
    *stages, root = kept.get_finished_spans()
    inner = next(span for span in stages if span.name == "merging reports")
    assert root.name == "tinyfin fleet ingest"
    assert inner.parent is not None
    assert inner.parent.span_id == root.context.span_id
    assert root.attributes == {"files": 8, "reports": 8, "again": 0, "refused": 0}
    assert facts["reports"] == 8
    said = "".join(span.to_json() for span in kept.get_finished_spans())
    assert not any(bench.terminal(i).hex() in said for i in range(4))
    assert counts({"a": "text", "b": {"x": 2, "y": 3}, "c": ["id"], "d": 1}) == {
        "b": 5,
        "c": 1,
        "d": 1,
    }


def test_spans_of_retrain_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(recording.TRACES, str(tmp_path / "spans"))

    def work() -> None:
        with recording.recorded(["retrain"]), progress.stage("outer"):
            with progress.stage("inner", 2) as stage:
                stage.step(2)
            raise InputError("a1b2c3d4e5f60000 is no terminal")

    with pytest.raises(InputError):
        work()
    inner, outer, root = events(tmp_path / "spans")
    assert [one["name"] for one in (inner, outer, root)] == ["inner", "outer", "tinyfin retrain"]
    assert inner["parent_id"] == outer["context"]["span_id"]
    assert inner["attributes"] == {"done": 2}
    assert root["status"]["status_code"] == "ERROR"
    assert "a1b2c3d4e5f60000" not in (tmp_path / "spans").read_text()


def test_a_collector_gets_them(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    monkeypatch.setenv(recording.TRACES, taker.url)
    with recording.recorded(["fleet", "campaign", "tick"]):
        recording.emitted({"offers": 3, "campaign": "name"}, {})
    [found] = [ExportTraceServiceRequest.FromString(data) for data in taker.got]
    [span] = found.resource_spans[0].scope_spans[0].spans
    assert span.name == "tinyfin fleet campaign tick"
    assert [(one.key, one.value.int_value) for one in span.attributes] == [("offers", 3)]


def test_nothing_is_imported_without_being_asked() -> None:
    """The control: this process has asked for it."""
    code = (
        "import sys; from tinyfin.cli import main; main(['train', '--help'], "
        "standalone_mode=False); from tinyfin.cli.recording import recorded\n"
        "with recorded(['retrain']): pass\n"
        "names = ('opentelemetry', 'tinyfin.cli.lineage', 'mlflow')\n"
        "sys.exit(10 + any(name in sys.modules for name in names))"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, timeout=280, check=False)
    assert done.returncode == 10, done.stderr.decode()
    assert "opentelemetry" in sys.modules
