# SPDX-License-Identifier: Apache-2.0
"""Reports over HTTPS, MQTT and Kafka, from real servers, with certificates."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import paho.mqtt.client as paho
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from paho.mqtt.enums import CallbackAPIVersion
from uvicorn import Server

from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.errors import InputError, LinkError
from tinyfin.fleet import durable, kafka
from tinyfin.fleet.admission import Admission, kept_aside
from tinyfin.fleet.http import configuration
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.mqtt import Broker, subscribed
from tinyfin.http_server import Listening

pytestmark = pytest.mark.live
REPORTS = bench.fleet(2, 2)
FORGED = bench.forged(REPORTS[0])
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return bench.certificates(tmp_path_factory.mktemp("pem"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return bench.new_lake(tmp_path / "lake")


@pytest.fixture
def door(lake: Lake) -> Admission:
    return Admission(lake, bench.KEYS)


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def waiting(lake: Lake) -> set[bytes]:
    return {path.read_bytes() for path in durable.entries(lake.inbox)}


# ------------------------------------------------------------------------------- HTTPS


@contextlib.contextmanager
def serving(
    door: Admission, pem: SimpleNamespace | None, deadline_s: float = DEADLINE_S
) -> Iterator[str]:
    tls = () if pem is None else (pem.server, pem.server_key, pem.authority)
    made = Server(configuration(door, Listening("127.0.0.1", 0, *tls), deadline_s))
    running = threading.Thread(target=made.run)
    running.start()
    until(lambda: made.started)
    try:
        yield f"https://127.0.0.1:{made.servers[0].sockets[0].getsockname()[1]}"
    finally:
        made.should_exit = True
        running.join(DEADLINE_S)


def client(pem: SimpleNamespace, who: str = "client") -> httpx.Client:
    context = ssl.create_default_context(cafile=str(pem.authority))
    if who:
        context.load_cert_chain(getattr(pem, who), getattr(pem, f"{who}_key"))
    return httpx.Client(verify=context, timeout=DEADLINE_S, trust_env=False)


def test_https(
    lake: Lake, door: Admission, pem: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(door, pem) as url, client(pem) as sender:
        for data in [*REPORTS, REPORTS[0]]:
            assert sender.post(f"{url}/reports", content=data).status_code == 201
        assert waiting(lake) == set(REPORTS)
        for data, status, why in ((FORGED, 403, "mac"), (b"x" * 9, 422, "format")):
            answer = sender.post(f"{url}/reports", content=data)
            assert (answer.status_code, answer.json()["refused"]) == (status, why)
        assert sender.post(f"{url}/reports", content=bytes(1 << 20)).status_code == 413
        with monkeypatch.context() as full:
            full.setattr(
                durable, "write", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full"))
            )
            assert sender.post(f"{url}/reports", content=REPORTS[1]).status_code == 503
        assert sender.get(f"{url}/health").json() == {"ready": True}
        assert sender.get(f"{url}/reports").status_code == 405
    assert kept_aside(lake) == {"mac": 1, "format": 1}


def test_a_slow_sender_is_not_waited_for(lake: Lake, door: Admission) -> None:
    """Neither for the head of a request nor for its body; others are answered meanwhile."""
    post = b"POST /reports HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nT"
    with serving(door, None, deadline_s=0.5) as url, httpx.Client(trust_env=False) as sender:
        port = int(url.rpartition(":")[2])
        for head, says in ((b"", b""), (b"POST /rep", b""), (post, b" 408 ")):
            with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as slow:
                slow.sendall(head)
                http = url.replace("https", "http")
                assert sender.get(f"{http}/health", timeout=DEADLINE_S).status_code == 200
                received = b""
                while piece := slow.recv(4096):
                    received += piece
                assert says in received
                assert bool(received) == bool(says)
    assert waiting(lake) == set()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_is_ended(lake: Lake, tmp_path: Path, ending: signal.Signals) -> None:
    """What it has acknowledged is in the lake then: merged by itself, or at the next merge."""
    keys = bench.key_file(tmp_path)
    words = ["fleet", "serve", lake.path, "--http", "127.0.0.1:0", "--report-keys", keys]
    with subprocess.Popen(
        [sys.executable, "-m", "tinyfin", *map(str, words)], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        url = running.stdout.readline().split()[-1]
        for data in REPORTS:
            assert httpx.post(url, content=data, trust_env=False, timeout=60).status_code == 201
        running.send_signal(ending)
        assert running.wait(DEADLINE_S) == {signal.SIGTERM: 0, signal.SIGKILL: -9}[ending]
    if ending == signal.SIGKILL:
        assert waiting(lake) == set(REPORTS)
        bench.take(lake)
    assert waiting(lake) == set()
    assert sum(part.rows for part in lake.manifest().parts.values()) == len(REPORTS)


@pytest.mark.parametrize("who", ["", "stranger"])
def test_https_asks_for_a_certificate(
    lake: Lake, door: Admission, pem: SimpleNamespace, who: str
) -> None:
    with serving(door, pem) as url, client(pem, who) as sender, pytest.raises(httpx.TransportError):
        sender.post(f"{url}/reports", content=REPORTS[0])
    assert waiting(lake) == set()


def test_no_server_without_tls_for_other_machines(door: Admission, pem: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="over TLS alone"):
        configuration(door, Listening("0.0.0.0"))
    with pytest.raises(InputError, match="needs all of"):
        configuration(door, Listening(certificate=pem.server, key=pem.server_key))
    with pytest.raises(InputError, match="TLS: "):
        configuration(door, Listening("127.0.0.1", 0, pem.server, pem.client_key, pem.authority))


# -------------------------------------------------------------------------------- MQTT

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
needs_mosquitto = pytest.mark.skipif(
    not Path(MOSQUITTO).exists(), reason="mosquitto is not installed; `tinyfin doctor` says how"
)


@pytest.fixture
def broker(tmp_path: Path, pem: SimpleNamespace) -> Iterator[Broker]:
    [port] = bench.free_ports(1)
    lines = [
        f"listener {port} 127.0.0.1",
        f"cafile {pem.authority}",
        f"certfile {pem.server}",
        f"keyfile {pem.server_key}",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        "user root",
    ]
    (tmp_path / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    with subprocess.Popen(
        [MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            until(lambda: running.poll() is not None or listens(port))
            yield Broker(
                "127.0.0.1",
                port,
                authorities=pem.authority,
                certificate=pem.client,
                key=pem.client_key,
            )
        finally:
            running.terminate()


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def send(broker: Broker, messages: list[bytes]) -> None:
    sender = paho.Client(CallbackAPIVersion.VERSION2, "terminals")
    sender.tls_set(str(broker.authorities), str(broker.certificate), str(broker.key))
    sender.connect(broker.host, broker.port)
    sender.loop_start()
    for data in messages:
        sender.publish("terminals/7/report", data, qos=1).wait_for_publish(DEADLINE_S)
    sender.disconnect()
    sender.loop_stop()


@needs_mosquitto
def test_mqtt(lake: Lake, door: Admission, broker: Broker) -> None:
    said: list[str] = []
    with subscribed(broker, door, said.append):
        send(broker, [REPORTS[0], FORGED, REPORTS[0], REPORTS[1]])
        until(lambda: waiting(lake) == set(REPORTS[:2]) and said)
    assert kept_aside(lake) == {"mac": 1}
    send(broker, REPORTS[2:])  # nobody listens: the broker keeps them
    with subscribed(broker, door, said.append):
        until(lambda: waiting(lake) == set(REPORTS))


@needs_mosquitto
def test_mqtt_acknowledges_what_is_on_the_disk(
    lake: Lake, door: Admission, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: the message is not acknowledged, and comes again."""
    with monkeypatch.context() as full:
        full.setattr(door, "deliver", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with subscribed(broker, door, print) as failures:
            send(broker, REPORTS[:1])
            until(lambda: failures)
    with subscribed(broker, door, print):
        until(lambda: waiting(lake) == set(REPORTS[:1]))


@needs_mosquitto
def test_mqtt_asks_for_certificates(door: Admission, broker: Broker, pem: SimpleNamespace) -> None:
    for who in ("stranger", None):
        given = {} if who is None else {"certificate": pem.stranger, "key": pem.stranger_key}
        other = Broker(broker.host, broker.port, authorities=pem.authority, **given)
        with pytest.raises(LinkError), subscribed(other, door, print):
            pass
    with (
        pytest.raises(InputError, match="over TLS alone"),
        subscribed(Broker("broker.example"), door, print),
    ):
        pass


# ------------------------------------------------------------------------------- Kafka


@pytest.fixture
def brokers() -> Iterator[str]:
    """librdkafka's own cluster."""
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "", "log_level": 0})
    found = cluster.list_topics(timeout=DEADLINE_S).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in found)
    cluster.flush(1)


def produce(brokers: str, topic: str, *values: bytes) -> None:
    sender = Producer({"bootstrap.servers": brokers})
    for value in values:
        sender.produce(topic, value, key=b"one partition")
    assert sender.flush(DEADLINE_S) == 0


def test_reports_from_kafka(lake: Lake, door: Admission, brokers: str) -> None:
    settings, said = kafka.read_settings(brokers), []
    produce(brokers, "reports", *REPORTS[:2], FORGED)
    assert kafka.take_reports(settings, "reports", door, said.append, idle_s=2) == 2
    assert waiting(lake) == set(REPORTS[:2])
    assert "offset 2" in said[0]
    produce(brokers, "reports", REPORTS[2])
    again = kafka.take_reports(settings, "reports", door, said.append, group="other", idle_s=2)
    assert (again, waiting(lake)) == (3, set(REPORTS[:3]))


def test_an_offset_is_committed_after_its_report_is_kept(
    lake: Lake, door: Admission, brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka's cluster lets nobody into a group again, so it is asked for the offset."""
    settings, deliver = kafka.read_settings(brokers), door.deliver
    produce(brokers, "reports", *REPORTS[:3])

    def full(data: bytes, where: str) -> str:
        if data == REPORTS[2]:
            raise OSError(28, "full")
        return deliver(data, where)

    monkeypatch.setattr(door, "deliver", full)
    with pytest.raises(OSError, match="full"):
        kafka.take_reports(settings, "reports", door, print, idle_s=2)
    asking = Consumer({"bootstrap.servers": brokers, "group.id": "tinyfin-fleet"})
    places = [TopicPartition("reports", n) for n in range(4)]
    assert max(p.offset for p in asking.committed(places, DEADLINE_S)) == 2
    asking.close()
    assert waiting(lake) == set(REPORTS[:2])


def test_transactions_come_once_and_verdicts_go(tmp_path: Path, brokers: str) -> None:
    rows = [{"terminal": "T1", "time": f"2026-01-0{n}", "amount_minor": 100 * n} for n in (1, 2, 3)]
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, pa.Table.from_pylist(rows[1:]).schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows[1:]))
    produce(brokers, "tx", json.dumps(rows[0]).encode(), bytes(stream.getvalue()))
    words = f"fleet pull {tmp_path / 'tx'} --kafka {brokers} --topic tx"
    (name,) = tinyfin_json(words)["files"]
    assert Path(name).name.split(".", 2)[2] == "0-1.parquet"
    assert pq.read_table(name).to_pylist() == rows
    assert tinyfin_json(words)["files"] == [], "each message once"
    produce(brokers, "tx", json.dumps(rows[0]).encode())
    (more,) = tinyfin_json(words)["files"]
    assert pq.read_table(more).to_pylist() == rows[:1]

    for how in ("", "--arrow"):
        topic = f"verdicts{len(how)}"
        push = f"fleet push {name} --kafka {brokers} --topic {topic} {how}"
        assert tinyfin_json(push) == {"rows": 3}
        (back,) = tinyfin_json(f"fleet pull {tmp_path / topic} --kafka {brokers} --topic {topic}")[
            "files"
        ]
        assert pq.read_table(back).to_pylist() == rows


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b'{"amount_minor": 1, "pan": "4"}', "offset 0: 'pan' is no name of a transaction"),
        (b"{", "neither a JSON object nor an Arrow stream"),
        (b"", "neither a JSON object nor an Arrow stream"),
    ],
)
def test_what_is_no_transaction(tmp_path: Path, brokers: str, message: bytes, said: str) -> None:
    produce(brokers, "tx", message)
    done = tinyfin(f"fleet pull {tmp_path / 'tx'} --kafka {brokers} --topic tx", code=3)
    assert said in done.output
    assert list((tmp_path / "tx").iterdir()) == []


def test_brokers_that_do_not_answer_and_settings_that_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "_DEADLINE_S", 0.5)
    settings, rows = kafka.read_settings("127.0.0.1:1"), tmp_path / "rows.parquet"
    pq.write_table(pa.table({"amount_minor": [1]}), rows)
    with pytest.raises(LinkError, match="check brokers"):
        kafka.pull(settings, "tx", tmp_path, most=1)
    with pytest.raises(LinkError, match="nothing was sent"):
        kafka.push(settings, "tx", rows)
    wrong = {**settings, "nonsense": "1"}
    with pytest.raises(InputError, match="correct the settings"):
        kafka.pull(wrong, "tx", tmp_path, most=1)
    with pytest.raises(InputError, match="correct the settings"):
        kafka.push(wrong, "tx", rows)


def test_settings_of_kafka(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("# TLS\nsecurity.protocol=ssl\n\nssl.ca.location = ca.pem\n")
    found: dict[str, Any] = kafka.read_settings("a:1", path)
    assert found == {
        "bootstrap.servers": "a:1",
        "security.protocol": "ssl",
        "ssl.ca.location": "ca.pem",
    }
    path.write_text("nonsense")
    with pytest.raises(InputError, match="line 1"):
        kafka.read_settings("a:1", path)
