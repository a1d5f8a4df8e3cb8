# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet serve``, ``pull`` and ``push``: what brings reports, transactions, verdicts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin import optional_packages
from tinyfin.cli.output import emit, json_option, note

if TYPE_CHECKING:
    from tinyfin.fleet.lake import Lake

__all__ = [
    "FILE",
    "address",
    "keys_option",
    "lake_argument",
    "open_lake_argument",
    "pull",
    "push",
    "repeated",
    "serve",
]

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_STEP_S = 0.5
_FOLDER = click.Path(path_type=Path, file_okay=False)
lake_argument = click.argument("lake", type=_FOLDER)
open_lake_argument = click.argument("lake", type=_FOLDER, callback=lambda _, __, x: _opened(x))
"""The same, opened."""
keys_option = click.option(
    "--report-keys",
    "keys_path",
    type=FILE,
    help="A fleet key, or a file of `tinyfin fleet keys`; the one that the lake was made with if "
    "not given.",
)
_brokers_option = click.option(
    "--kafka", "brokers", metavar="BROKERS", required=True, help="HOST:PORT, and others."
)
_settings_option = click.option(
    "--settings",
    "settings_path",
    type=FILE,
    help="Further settings of librdkafka, a line name=value each: security.protocol, "
    "ssl.ca.location and others.",
)


def _opened(path: Path) -> Lake:
    from tinyfin.fleet.lake import Lake

    return Lake(path)


def address(text: str) -> tuple[str, int]:
    """HOST:PORT. Raises click.UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(f"{text!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


@click.command("serve")
@open_lake_argument
@click.option("--http", "http", metavar="HOST:PORT", help="Take reports over HTTPS; port 0: any.")
@click.option("--mqtt", "mqtt", metavar="HOST:PORT", help="Take reports from a broker of MQTT.")
@click.option("--kafka", "kafka", metavar="BROKERS", help="Take reports from Kafka.")
@click.option(
    "--topic", help="Of MQTT [terminals/+/report] or Kafka [reports]; a message is one report."
)
@click.option("--certificate", type=FILE, help="PEM: of the HTTPS server, or of the MQTT client.")
@click.option("--certificate-key", type=FILE, help="PEM: the private key of --certificate.")
@click.option("--client-ca", "authorities", type=FILE, help="PEM: authorities of the other side's.")
@_settings_option
@keys_option
@click.option(
    "--merge-every",
    "merge_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds between merges of the inbox; 0: `tinyfin fleet ingest` does it.",
)
@json_option
def serve(
    lake: Lake,
    http: str | None,
    mqtt: str | None,
    kafka: str | None,
    topic: str | None,
    certificate: Path | None,
    certificate_key: Path | None,
    authorities: Path | None,
    settings_path: Path | None,
    keys_path: Path | None,
    merge_s: float,
    as_json: bool,
) -> None:
    """Take reports into the inbox of LAKE, over one carrier, until it is ended (Ctrl-C).

    A report is acknowledged when it is on the disk. With --certificate, --certificate-key and
    --client-ca both sides show certificates; without, only this machine is listened to.
    """
    from tinyfin.fleet.admission import Admission
    from tinyfin.fleet.ingest import ingest

    if sum(x is not None for x in (http, mqtt, kafka)) != 1:
        raise click.UsageError("give one of --http, --mqtt, --kafka")
    keys = lake.report_keys(keys_path)
    admission = Admission(lake, keys)
    with repeated(lambda: ingest(lake, keys), merge_s, f"{lake.path}: not merged", at_end=True):
        if kafka is not None:
            from tinyfin.fleet.kafka import read_settings, take_reports

            settings = read_settings(kafka, settings_path)
            _say(f"taking reports from {kafka}", as_json)
            take_reports(settings, topic or "reports", admission, _refused)
        elif http is not None:
            optional_packages.require(["starlette", "uvicorn"], "to take reports over HTTPS")
            from tinyfin.fleet.http import configuration
            from tinyfin.http_server import Listening
            from tinyfin.http_server import serve as answer

            where = Listening(*address(http), certificate, certificate_key, authorities)
            answer(
                configuration(admission, where),
                where,
                lambda at: _say(f"taking reports at {at}/reports", as_json),
            )
        else:
            from tinyfin.fleet.mqtt import Broker, subscribed

            host, port = address(str(mqtt))
            broker = Broker(
                host,
                port,
                topic or Broker.topic,
                authorities=authorities,
                certificate=certificate,
                key=certificate_key,
            )
            with subscribed(broker, admission, _refused) as failures:
                _say(f"taking reports from {mqtt}", as_json)
                while not failures:
                    time.sleep(_STEP_S)
                raise failures[0]


def _say(text: str, as_json: bool) -> None:
    emit({"serving": text}, as_json, text)


def _refused(message: str) -> None:
    note(f"refused: {message}")


@contextmanager
def repeated(
    work: Callable[[], object], every_s: float, failed: str, at_end: bool
) -> Iterator[None]:
    """Do ``work`` at intervals while the block runs, and once more ``at_end``; what fails is said
    as ``failed`` and tried again. 0 s: never."""
    from tinyfin.errors import TinyfinError

    over = threading.Event()

    def once() -> None:
        try:
            work()
        except (TinyfinError, OSError) as error:
            note(f"WARNING: {failed}, tried again later: {error}")

    def loop() -> None:
        while not over.wait(every_s):
            once()

    worker = threading.Thread(target=loop, daemon=True)
    if every_s:
        worker.start()
    try:
        yield
    finally:
        over.set()
        if every_s:
            worker.join()
            if at_end:
                once()


@click.command("pull")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_brokers_option
@click.option("--topic", required=True, help="Its messages: a JSON object, or an Arrow stream.")
@click.option(
    "--idle",
    "idle_s",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Seconds without a message after which a partition has no more.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1_000_000,
    show_default=True,
    help="Messages of a partition, at most.",
)
@_settings_option
@json_option
def pull(
    folder: Path,
    brokers: str,
    topic: str,
    idle_s: float,
    limit: int,
    settings_path: Path | None,
    as_json: bool,
) -> None:
    """Write new transactions of a topic of Kafka to Parquet files in FOLDER, each once.

    Columns have the names of [data] and the schema, so `tinyfin score` reads them.
    """
    from tinyfin.fleet.kafka import pull, read_settings

    made = pull(read_settings(brokers, settings_path), topic, folder, idle_s=idle_s, most=limit)
    names = [str(path) for path in made]
    emit({"files": names}, as_json, "\n".join(names) or "no new transactions")


@click.command("push")
@click.argument("file", type=FILE)
@_brokers_option
@click.option("--topic", required=True, help="Where the rows go.")
@click.option("--arrow", is_flag=True, help="1,000 rows a message, as an Arrow stream; else JSON.")
@_settings_option
@json_option
def push(
    file: Path, brokers: str, topic: str, arrow: bool, settings_path: Path | None, as_json: bool
) -> None:
    """Send the rows of FILE, the Parquet file of `tinyfin score`, to Kafka: all of them or none."""
    from tinyfin.fleet.kafka import push, read_settings

    count = push(read_settings(brokers, settings_path), topic, file, arrow=arrow)
    emit({"rows": count}, as_json, f"{topic}: {count} rows of {file}")
