# SPDX-License-Identifier: Apache-2.0
"""Kafka in and out: reports into a lake, transactions into files, scores of a file into a topic.

A row is a JSON object, or an Arrow IPC stream of rows, with the names of ``[data]`` and the schema.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tinyfin import optional_packages
from tinyfin.config.columns import ALIASES, SPECIAL_NAMES
from tinyfin.errors import DataError, InputError, LinkError
from tinyfin.fleet import durable
from tinyfin.fleet.admission import Admission, Refused
from tinyfin.schema import PAYMENT_HOST_ODDS

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

__all__ = ["pull", "push", "read_settings", "take_reports"]

C = TypeVar("C")
NAMES = (*SPECIAL_NAMES, *ALIASES, *PAYMENT_HOST_ODDS.names)
"""Columns that a transaction may have."""
_DEADLINE_S = 30.0
_POLL_S = 0.5
_FILE = re.compile(r"(.+)\.(\d+)\.(\d+)-(\d+)\.parquet")


def read_settings(brokers: str, path: Path | None = None) -> dict[str, Any]:
    """Settings of librdkafka: the brokers, and those of a file, a line ``name=value`` each, such as
    those of TLS. Raises InputError."""
    settings: dict[str, Any] = {"bootstrap.servers": brokers}
    for number, line in enumerate(
        path.read_text("utf-8", "replace").splitlines() if path else (), 1
    ):
        name, equals, value = line.partition("=")
        if line.strip() and not line.lstrip().startswith("#"):
            if not equals:
                raise InputError(f"{path}, line {number}: is not name=value")
            settings[name.strip()] = value.strip()
    return settings


def take_reports(
    settings: Mapping[str, Any],
    topic: str,
    admission: Admission,
    note: Callable[[str], object],
    *,
    group: str = "tinyfin-fleet",
    idle_s: float | None = None,
) -> int:
    """Put the reports of a topic into the inbox, until nothing has come for ``idle_s`` (None: for
    ever); how many. An offset is committed when its report is in the inbox. Raises ToolError,
    LinkError."""
    taken = 0
    with _consumer(settings, {"group.id": group, "auto.offset.reset": "earliest"}) as consumer:
        consumer.subscribe([topic])
        for message in _messages(consumer, idle_s):
            try:
                admission.deliver(message.value() or b"", _where(message))
                taken += 1
            except Refused as error:
                note(str(error))
            consumer.commit(message=message, asynchronous=False)
    return taken


def pull(
    settings: Mapping[str, Any], topic: str, folder: Path, *, idle_s: float = 5.0, most: int
) -> list[Path]:
    """New transactions of a topic as Parquet files in ``folder``, one for each partition that has
    any; at most ``most`` messages of each.

    Names say topic, partition, and first and last offset; the next call begins behind the last one,
    so each message is in one file, whenever this ends. Raises DataError that names the message that
    is no transaction, ToolError, LinkError.
    """
    made = []
    with _consumer(
        settings, {"group.id": "tinyfin-pull", "enable.partition.eof": True}
    ) as consumer:
        from confluent_kafka import TopicPartition

        durable.folder(folder.absolute())
        known = consumer.list_topics(topic, _DEADLINE_S).topics[topic]
        if known.error is not None:
            raise LinkError(f"topic {topic}: {known.error.str()}; name a topic of these brokers")
        for partition in sorted(known.partitions):
            place = TopicPartition(topic, partition)
            known_offsets = consumer.get_watermark_offsets(place, _DEADLINE_S)
            if known_offsets is None:
                raise LinkError(f"topic {topic}: partition {partition} does not answer; try again")
            start = max(known_offsets[0], _next_offset(folder, topic, partition))
            consumer.assign([TopicPartition(topic, partition, start)])
            tables, last = [], start - 1
            for message in islice(_messages(consumer, idle_s, until_end=True), most):
                tables.append(_rows(message))
                last = message.offset() or 0
            if tables:
                path = folder / f"{topic}.{partition}.{start}-{last}.parquet"
                sink = pa.BufferOutputStream()
                pq.write_table(pa.concat_tables(tables, promote_options="permissive"), sink)
                durable.write(path, bytes(sink.getvalue()))
                made.append(path)
    return made


def push(
    settings: Mapping[str, Any], topic: str, rows: Path, *, arrow: bool = False, batch: int = 1000
) -> int:
    """Send the rows of a Parquet file, such as `tinyfin score` writes, all or none of them: they
    are one transaction of Kafka. How many. The key is the terminal, so that a terminal's rows stay
    in order. ``arrow``: ``batch`` rows a message, as an IPC stream, without a key. Raises
    ToolError, DataError, LinkError."""
    optional_packages.require(["confluent_kafka"], "to reach Kafka")
    from confluent_kafka import KafkaException, Producer

    try:
        file = pq.ParquetFile(rows)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{rows}: is no Parquet file ({error}); score to one") from error
    own = {"transactional.id": f"tinyfin-push-{topic}", "linger.ms": 20}
    producer = _client(Producer, {**own, **settings})
    failed: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error.str())

    count = 0
    try:
        producer.init_transactions(_DEADLINE_S)
        producer.begin_transaction()
        for part in file.iter_batches(batch):
            for key, value in _ipc(part) if arrow else _objects(part):
                while True:
                    try:
                        producer.produce(topic, value, key, on_delivery=delivered)
                        break
                    except BufferError:
                        producer.poll(_POLL_S)
            count += part.num_rows
            producer.poll(0)
        if producer.flush(_DEADLINE_S) or failed:
            producer.abort_transaction(_DEADLINE_S)
            raise LinkError(f"topic {topic}: nothing was sent: {(failed or ['no answer'])[0]}")
        producer.commit_transaction(_DEADLINE_S)
    except KafkaException as error:
        raise LinkError(f"topic {topic}: {error.args[0].str()}; nothing was sent") from error
    return count


@contextlib.contextmanager
def _consumer(settings: Mapping[str, Any], more: Mapping[str, Any]) -> Iterator[Consumer]:
    """A consumer for the length of the block; what fails in it is a LinkError."""
    optional_packages.require(["confluent_kafka"], "to reach Kafka")
    from confluent_kafka import Consumer, KafkaException

    own = {"enable.auto.commit": False, "isolation.level": "read_committed"}
    consumer = _client(Consumer, {**own, **more, **settings})
    try:
        yield consumer
    except KafkaException as error:
        raise LinkError(f"Kafka: {error.args[0].str()}; check brokers, topic and rights") from error
    finally:
        consumer.close()


def _client(kind: Callable[[dict[str, Any]], C], settings: dict[str, Any]) -> C:
    from confluent_kafka import KafkaException

    try:
        return kind(settings)
    except KafkaException as error:
        raise InputError(f"Kafka: {error.args[0].str()}; correct the settings") from error


def _messages(
    consumer: Consumer, idle_s: float | None, *, until_end: bool = False
) -> Iterator[Message]:
    from confluent_kafka import KafkaError, KafkaException

    begun = last = time.monotonic()
    while idle_s is None or time.monotonic() - last < idle_s:
        message = consumer.poll(_POLL_S)
        if message is None:
            if not consumer.assignment() and time.monotonic() - begun < _DEADLINE_S:
                last = time.monotonic()  # the group is still sharing out partitions
            continue
        error = message.error()
        if error is None:
            yield message
            last = time.monotonic()
        elif error.code() == KafkaError._PARTITION_EOF:
            if until_end:
                return
        elif not error.retriable() and error.code() != KafkaError._TRANSPORT:
            raise KafkaException(error)


def _where(message: Message) -> str:
    return f"{message.topic()}, partition {message.partition()}, offset {message.offset()}"


def _next_offset(folder: Path, topic: str, partition: int) -> int:
    found = [
        int(match[4])
        for path in durable.entries(folder)
        if (match := _FILE.fullmatch(path.name)) and (match[1], match[2]) == (topic, str(partition))
    ]
    return max(found, default=-1) + 1


def _rows(message: Message) -> pa.Table:
    """The transactions of a message: JSON begins with a brace, an IPC stream does not."""
    data, where = message.value() or b"", _where(message)
    try:
        if data[:1] == b"{":
            row = json.loads(data)
            table = pa.Table.from_pylist([row])
        else:
            table = pa.ipc.open_stream(io.BytesIO(data)).read_all()
    except (ValueError, RecursionError, pa.ArrowException) as error:
        raise DataError(
            f"{where}: is neither a JSON object nor an Arrow stream: {error}"
        ) from error
    unknown = sorted(set(table.column_names) - set(NAMES))
    if unknown:
        raise DataError(
            f"{where}: {unknown[0]!r} is no name of a transaction; it has {', '.join(NAMES)}"
        )
    return table


def _objects(part: pa.RecordBatch) -> Iterator[tuple[bytes | None, bytes]]:
    for row in part.to_pylist():
        terminal = row.get("terminal")
        key = None if terminal is None else str(terminal).encode()
        yield key, json.dumps(row, separators=(",", ":"), default=str).encode()


def _ipc(part: pa.RecordBatch) -> Iterator[tuple[None, bytes]]:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, part.schema) as stream:
        stream.write_batch(part)
    yield None, bytes(sink.getvalue())
