# SPDX-License-Identifier: Apache-2.0
"""What a service says: errors that name field, value and what to do; limits, TLS, metrics,
OpenAPI."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
import socket
import ssl
import time
from pathlib import Path
from typing import Any, TextIO

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.served import DEADLINE_S, InProcess, opened, passing_run, running
from tests.support.certificates import certificate
from tests.support.cli import tinyfin
from tinyfin.http_server import known_hosts
from tinyfin.optional_packages import EXTRAS, install_command
from tinyfin.schema import PAYMENT
from tinyfin.serving.host_context import HostContext
from tinyfin.serving.host_service import HostService
from tinyfin.serving.web import Limits

ONE: dict[str, Any] = {"terminal": "T1", "id": 1, "time": 1_700_000_000, "amount_minor": 1234}
PAN = "4111111111111111"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return passing_run(tmp_path_factory.mktemp("web") / "run")


def scoring(run: Path, **limits: Any) -> InProcess:
    return InProcess(opened(run, terminals=3), Limits(**limits))


@pytest.fixture(scope="module")
def client(run: Path) -> InProcess:
    return scoring(run, batch=5, body_bytes=4000)


def refused(client: InProcess, path: str, body: object, status: int) -> dict[str, Any]:
    """The first error of a request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, content=content)
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert found["count"] >= len(found["errors"]) >= 1
    first: dict[str, Any] = found["errors"][0]
    assert set(first) == {"field", "value", "message"}
    of_files = r"\[data\]|column(?! \d)|(pattern|format|empty|epoch|values) ="
    assert not any(re.search(of_files, fault["message"]) for fault in found["errors"])
    return first


@pytest.mark.parametrize(
    ("change", "field", "value", "says"),
    [
        ({"amount_minor": -1}, "amount_minor", -1, "at least 0; correct it"),
        ({"amount_minor": 10**12}, "amount_minor", 10**12, "at most 999999999999"),
        ({"amount_minor": 1.5}, "amount_minor", 1.5, "must be a whole number"),
        ({"amount_minor": "12.50"}, "amount_minor", "12.50", "whole number; send digits only"),
        ({"amount_minor": True}, "amount_minor", True, "not true or false"),
        ({"amount": 5}, "amount", 5, "is not known; did you mean 'amount_minor'?"),
        ({"token": 1.5e19}, "token", 1.5e19, "has lost digits here; send it as a text"),
        ({"token": -1}, "token", -1, "at least 0"),
        ({"entry_mode": "chipp"}, "entry_mode", "chipp", "one of 'contactless_chip', 'chip'"),
        ({"terminal": None}, "terminal", None, ""),
        ({"terminal": ""}, "terminal", "", "must not be empty; name the terminal"),
        ({"terminal": "T" * 65}, "terminal", "T" * 65, "at most 64 characters; shorten it"),
        ({"id": ""}, "id", "", "must not be empty"),
        ({"id": -5}, "id", -5, "at least 0"),
        ({"time": "yesterday"}, "time", "yesterday", "must be a time like"),
        ({"time": None}, "time", None, "seconds since 1970"),
        ({"time": "2300-01-01"}, "time", "2300-01-01", "between 2000-01-01 and 2136"),
        ({"local_time": "noon"}, "local_time", "noon", "must be a time like"),
        ({"mcc": [1]}, "mcc", "[1]", "whole number"),
    ],
)
def test_a_wrong_field_is_named(
    client: InProcess, change: dict[str, Any], field: str, value: object, says: str
) -> None:
    first = refused(client, "/score", {**ONE, **change}, 422)
    assert (first["field"], first["value"]) == (field, value)
    assert says in first["message"]
    several = {"transactions": [ONE, {**ONE, **change}]}
    assert refused(client, "/score", several, 422)["field"] == f"transactions[1].{field}"
    assert client.get("/health").json()["events"] == 0


@pytest.mark.parametrize(
    ("body", "status", "field", "says"),
    [
        (b"{", 400, "body", "is not JSON"),
        (b"\xff", 400, "body", "is not JSON"),
        (b'{"a": NaN}', 400, "body", "NaN is no number"),
        (b'{"id": 1, "id": 2}', 400, "body", "has a key twice"),
        (b"[" * 3000, 400, "body", "is not JSON"),
        (b"[]", 400, "body", '{"transactions": [...]}'),
        ({"transactions": {}}, 400, "transactions", "must be a list"),
        ({"transactions": [], "id": 1}, 400, "transactions", "must be a list"),
        ({"transactions": []}, 413, "transactions", "must have 1 to 5 items"),
        ({"transactions": [ONE] * 6}, 413, "transactions", "send several requests"),
        ({"transactions": [5]}, 422, "transactions[0]", "must be an object"),
        ({**ONE, "operator_hash": "1" * 4000}, 413, "body", "more than 4000 bytes"),
        ({}, 422, "terminal", "is needed; add it"),
    ],
)
def test_a_wrong_body(client: InProcess, body: object, status: int, field: str, says: str) -> None:
    first = refused(client, "/score", body, status)
    assert first["field"] == field
    assert says in first["message"]


@pytest.mark.parametrize(
    ("change", "field", "value", "says"),
    [
        ('"amount_minor": 1e999', "amount_minor", "inf", "must be a whole number"),
        ('"id": -1e999', "id", "-inf", "must be a whole number"),
        ('"time": 1e999', "time", "inf", "must be a time like"),
        ('"terminal": "\\ud800"', "terminal", "\\ud800", "half of a surrogate pair"),
        ('"id": "a\\udfff"', "id", "a\\udfff", "half of a surrogate pair"),
        ('"time": "\\ud800"', "time", "\\ud800", "half of a surrogate pair"),
        ('"amount_minor": "\\ud800"', "amount_minor", "\\ud800", "half of a surrogate pair"),
        ('"entry_mode": "\\ud800"', "entry_mode", "\\ud800", "half of a surrogate pair"),
        ('"\\ud800": 1', "body", "\\ud800", "half of a surrogate pair"),
        ('"x": "\\ud800"', "x", "\\ud800", "is not known"),
        ('"x": [1e999]', "x", "[Infinity]", "is not known"),
    ],
)
def test_what_json_or_utf8_lacks_is_shown_as_text(
    run: Path, change: str, field: str, value: str, says: str
) -> None:
    client = scoring(run)
    key = change.partition(":")[0].strip('"')
    rest = ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in ONE.items() if k != key)
    for body in (f"{{{rest}, {change}}}", f'{{"transactions": [{{{rest}, {change}}}]}}'):
        first = refused(client, "/score", body.encode(), 422)
        assert first["value"] == value
        assert first["field"] in (field, f"transactions[0].{field}", "transactions[0]")
        assert says in first["message"]
    assert 'tinyfin_requests_total{path="/score",status="422"} 2.0' in client.get("/metrics").text


def test_a_key_that_is_a_card_number_is_not_shown(client: InProcess) -> None:
    answer = client.post("/score", json={**ONE, PAN: 1})
    assert answer.status_code == 422
    assert PAN not in answer.text


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_only_json_is_taken(run: Path, kind: str | None) -> None:
    """What a web page of another origin may send unasked is none."""
    client = scoring(run)
    headers = {"content-type": kind or ""}
    answer = client.post("/score", content=json.dumps(ONE), headers=headers)
    assert answer.status_code == 415
    assert "application/json; send this header" in answer.json()["errors"][0]["message"]
    assert client.get("/health").json()["events"] == 0
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/score", content=json.dumps(ONE), headers=headers).status_code == 200


def test_a_foreign_host_is_refused_on_loopback(run: Path) -> None:
    """What a browser sends for a web page that gave its own name this address."""
    with running("serve", run, "--allow-host", "Till.example") as service:
        port = service.url.rpartition(":")[2]
        with service.client() as client:
            for host, status in (
                ("127.0.0.1", 200),
                (f"LOCALHOST:{port}", 200),
                (f"[::1]:{port}", 200),
                ("till.example", 200),
                ("evil.example", 421),
                (f"127.0.0.1.evil.example:{port}", 421),
                ("[", 421),
            ):
                found = [
                    client.get("/health", headers={"host": host}),
                    client.post("/score", json=ONE, headers={"host": host}),
                ]
                assert [answer.status_code for answer in found] == [status] * 2, host
                if status == 421:
                    assert "--allow-host" in found[0].json()["errors"][0]["message"]
            assert client.get("/health").json()["events"] == 4
        service.end()


def test_hosts_by_which_a_service_may_be_asked() -> None:
    assert known_hosts("0.0.0.0", ()) is None
    assert known_hosts("0.0.0.0", ("a.example",)) == {
        "0.0.0.0",
        "localhost",
        "127.0.0.1",
        "::1",
        "a.example",
    }
    for local in ("127.0.0.1", "127.0.0.5", "::1", "localhost"):
        assert local in (known_hosts(local, ()) or ())


def test_other_paths_and_methods(client: InProcess) -> None:
    for method, path, status, says in (
        ("GET", "/scores", 404, "/openapi.json lists the paths"),
        ("GET", "/score", 405, "takes POST, not GET"),
        ("DELETE", "/health", 405, "takes GET, HEAD, not DELETE"),
    ):
        answer = client.request(method, path)
        assert answer.status_code == status
        assert says in answer.json()["errors"][0]["message"].replace("HEAD, GET", "GET, HEAD")


def test_card_numbers_are_taken_nowhere(run: Path) -> None:
    client = scoring(run)
    for field in ("terminal", "id", "token"):
        pans = [int(PAN), 5555555555554444, 378282246310005]
        for i, pan in enumerate(pans):
            item = {**ONE, field: pan if field == "token" else str(pan)}
            if i == 2 or field == "token":
                first = refused(client, "/score", item, 422)
                assert "card number" in first["message"]
            else:
                client.post("/score", json=item)
    shown = client.post("/score", json={**ONE, "amount_minor": PAN + " "}).text
    assert PAN not in shown


def test_one_terminal_too_many(run: Path) -> None:
    client = scoring(run)
    many = {"transactions": [{**ONE, "terminal": f"T{i}"} for i in range(4)]}
    assert "more than 3 terminals" in refused(client, "/score", many, 422)["message"]
    assert client.get("/health").json()["terminals"] == 0


def test_a_fault_of_ours_shows_no_traceback(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = opened(run)
    monkeypatch.setattr(service.terminals, "apply", None)
    client = InProcess(service)
    answer = client.post("/score", json=ONE)
    assert answer.status_code == 500
    assert answer.json()["errors"][0]["message"] == (
        "the service failed; its standard error says why"
    )
    assert "error: POST /score: TypeError" in capsys.readouterr().err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(["terminal", "id", "time", "local_time", *PAYMENT.names])


@settings(max_examples=50)
@given(body=JSON | st.dictionaries(NAMES, JSON, max_size=6), raw=st.binary(max_size=40))
def test_anything_is_answered_with_json(client: InProcess, body: object, raw: bytes) -> None:
    """Whatever comes: a verdict or errors, never a fault of ours."""
    for path in ("/score", "/outcomes", "/notices"):
        for item in (body, {"transactions": [{**ONE, **body}]} if isinstance(body, dict) else body):
            answer = client.post(path, content=json.dumps(item).encode("utf-8", "replace"))
            assert answer.status_code in (200, 400, 413, 422), answer.text
            assert "verdict" in answer.text or answer.json()["errors"]
    assert client.post("/score", content=raw).status_code in (400, 422)


def test_numbers_as_other_programs_write_them(run: Path) -> None:
    """Power Query has floating point only; 64-bit numbers travel as texts."""
    client = scoring(run)
    plain = client.post("/score", json={**ONE, "id": 2**60, "token": 2**63}).json()["verdict"]
    text = {**ONE, "id": str(2**60), "token": str(2**63), "amount_minor": 1234.0}
    for time_ in (1_700_000_000.0, "2023-11-14T22:13:20Z", "2023-11-14 22:13:20", "1700000000"):
        assert client.post("/score", json={**text, "time": time_}).json()["verdict"] == plain
    assert plain["id"] == 2**60


def outcome(**more: object) -> dict[str, object]:
    return {"terminal": "T1", "id": 1, "time": 1_700_000_009, "result": "approved", **more}


def test_outcomes_and_notices(run: Path) -> None:
    client = scoring(run)
    unknown = client.post("/outcomes", json=outcome()).json()["result"]
    assert unknown["status"] == "refused"
    assert "no pending transaction has this id" in unknown["message"]
    client.post("/score", json=ONE)
    assert client.post("/outcomes", json=outcome(response=0)).json()["result"] == {
        "status": "applied",
        "message": None,
    }
    assert refused(client, "/outcomes", outcome(result="paid"), 422)["field"] == "result"
    assert refused(client, "/outcomes", outcome(response=100), 422)["field"] == "response"
    notice = {"terminal": "T1", "id": 1, "time": 1_700_090_000, "transaction_time": 1_700_000_000}
    assert refused(client, "/notices", notice, 422)["field"] == "fraud"
    assert refused(client, "/notices", {**notice, "fraud": "maybe"}, 422)["field"] == "fraud"
    body = {"notices": [{**notice, "fraud": True, "token": 77}]}
    assert client.post("/notices", json=body).json()["results"][0]["status"] == "applied"


def services(run: Path) -> list[InProcess]:
    return [scoring(run), InProcess(HostService(HostContext(5), folder=None))]


def test_openapi_is_valid_and_true(run: Path) -> None:
    """By a validator of OpenAPI; and what is answered fits it."""
    bodies: dict[str, list[object]] = {
        "/score": [ONE, {"transactions": [ONE, {**ONE, "id": "x"}]}],
        "/outcomes": [outcome(), {"outcomes": [outcome()]}],
        "/notices": [{"terminal": 1, "id": 1, "time": 1, "transaction_time": 1, "fraud": True}],
        "/fields": [{"token": 7, "time": 1_700_000_000}],
        "/events": [{"kind": "request", "token": "7", "id": 1, "time": "2024-01-01"}],
    }
    for client in services(run):
        document = client.get("/openapi.json").json()
        validate(document)
        components = {"components": document["components"]}
        for path, methods in document["paths"].items():
            for body in bodies.get(path, []):
                posted = methods["post"]
                asked = posted["requestBody"]["content"]["application/json"]["schema"]
                Draft202012Validator({**asked, **components}).validate(body)
                answer = client.post(path, json=body)
                schema = posted["responses"][str(answer.status_code)]["content"]
                answered = schema["application/json"]["schema"]
                Draft202012Validator({**answered, **components}).validate(answer.json())
            if "get" in methods:
                assert client.get(path).status_code == 200


def test_metrics_are_read_by_the_client_of_prometheus(run: Path) -> None:
    client = scoring(run)
    client.post("/score", json={"transactions": [ONE, {**ONE, "id": 2}]})
    client.post("/score", json={})
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["tinyfin_requests_total", "/score", "200"] == 1
    assert found["tinyfin_requests_total", "/score", "422"] == 1
    assert found["tinyfin_request_seconds_bucket", "+Inf", "/score"] == 2
    assert found["tinyfin_request_seconds_count", "/score"] == 2
    assert found[("tinyfin_terminals",)] == 1
    assert sum(v for k, v in found.items() if k[0] == "tinyfin_transactions_total") == 2


def test_usage(run: Path, tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("no certificate")
    assert "go together" in tinyfin(f"serve {run} --tls-cert {pem}", code=2).output
    assert "goes with" in tinyfin(f"serve {run} --tls-client-ca {pem}", code=2).output
    assert "--state" in tinyfin(f"serve {run} --sync", code=2).output
    said = tinyfin(f"serve {run} --tls-cert {pem} --tls-key {pem}", code=3).output
    assert "cannot be used for TLS" in said
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "choose another --port" in tinyfin(f"serve {run} --port {port}", code=3).output
    shard = tinyfin("serve-host --shard 2 --shards 2", code=3).output
    assert "numbered from 0" in shard


def test_the_logs_of_others_stay_as_they_are(run: Path, tmp_path: Path) -> None:
    """A configuration of all logs would close their handlers, and with them foreign files."""
    pem = tmp_path / "a.pem"
    pem.write_text("no certificate")
    closed: list[bool] = []

    class Foreign(logging.StreamHandler[TextIO]):
        def close(self) -> None:
            closed.append(True)
            super().close()

    foreign = Foreign()
    tinyfin(f"serve {run} --tls-cert {pem} --tls-key {pem}", code=3)
    assert not closed
    foreign.close()
    assert closed


@pytest.mark.parametrize("package", EXTRAS["serve"])
def test_a_missing_package_is_named(
    run: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else honest(name)
    )
    for line in (f"serve {run}", "serve-host"):
        said = " ".join(tinyfin(line, code=6).output.split())
        assert f"package {package} is not installed, needed to answer over HTTP" in said
        assert install_command("serve") in said


def test_tls_with_client_certificates(run: Path, tmp_path: Path) -> None:
    authority = certificate(tmp_path, "ca", None)
    certificate(tmp_path, "server", authority)
    certificate(tmp_path, "client", authority)
    ca, server, mine = (tmp_path / f"{name}.pem" for name in ("ca", "server", "client"))
    options = ("--tls-cert", server, "--tls-key", server.with_suffix(".key"))
    with running("serve", run, *options, "--tls-client-ca", ca) as service:
        assert service.url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=str(ca))
        with service.client(verify=trust) as stranger, pytest.raises(httpx.TransportError):
            stranger.get("/health")
        trust.load_cert_chain(mine, mine.with_suffix(".key"))
        with service.client(verify=trust) as client:
            assert client.get("/health").json()["status"] == "ok"
        service.end()


def test_a_slow_client_is_not_waited_for(run: Path) -> None:
    """Neither for the head of a request nor for its body; others are answered meanwhile."""
    with running("serve", run, "--deadline-s", "0.5") as service, service.client() as client:
        host, port = service.url.removeprefix("http://").split(":")
        for head, says in (
            (b"", b""),
            (b"POST /score HT", b""),
            (
                b"POST /score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: 9\r\n\r\n{",
                b" 408 ",
            ),
        ):
            with socket.create_connection((host, int(port)), DEADLINE_S) as slow:
                slow.sendall(head)
                assert client.get("/health").status_code == 200
                slow.settimeout(DEADLINE_S)
                received = b""
                until = time.monotonic() + DEADLINE_S
                while piece := slow.recv(4096):
                    received += piece
                    assert time.monotonic() < until
                assert says in received
                assert bool(received) == bool(says)
        service.end()
