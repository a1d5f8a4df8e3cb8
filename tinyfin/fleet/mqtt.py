# SPDX-License-Identifier: Apache-2.0
"""Reports over MQTT: each message of a topic is a report, acknowledged when it is in the inbox.

Nothing rests on the broker: it may deliver a message again, and loses those that it has no space
for. A terminal that sends its report until a newer one replaces it loses none.
"""

from __future__ import annotations

import contextlib
import queue
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinyfin import optional_packages
from tinyfin.errors import InputError, LinkError
from tinyfin.fleet.admission import Admission, Refused

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

__all__ = ["Broker", "subscribed"]

_CONNECT_S = 20.0
_QOS = 1


@dataclass(frozen=True)
class Broker:
    """Where the messages come from."""

    host: str
    port: int = 8883
    topic: str = "terminals/+/report"
    client_id: str = "tinyfin-fleet"
    """The broker keeps what comes for it while it is away."""
    authorities: Path | None = None
    """Certificates of those that sign the broker's; None: no TLS."""
    certificate: Path | None = None
    """Of this client, with ``key``."""
    key: Path | None = None


@contextlib.contextmanager
def subscribed(
    broker: Broker, admission: Admission, note: Callable[[str], object]
) -> Iterator[list[OSError]]:
    """Take messages for the length of the block, and reconnect whenever need be; what was not
    acknowledged comes again next time. ``note`` gets what is refused. The list gets why reports can
    no longer be kept, such as a full disk.

    Raises ToolError without paho-mqtt, InputError for files of TLS that are wrong, LinkError when
    the broker does not let it in within 20 s.
    """
    optional_packages.require(["paho"], "to take reports over MQTT")
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    failures: list[OSError] = []
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    """Why the broker does not let it in; empty: it does."""

    def connected(client: Client, _: object, __: object, code: ReasonCode, ___: object) -> None:
        if code.is_failure:
            answers.put(str(code))
        else:
            client.subscribe(broker.topic, _QOS)

    def granted(_: Client, __: object, ___: int, codes: list[ReasonCode], ____: object) -> None:
        answers.put(", ".join(str(code) for code in codes if code.is_failure))

    def closed(_: Client, __: object, ___: object, code: object, ____: object) -> None:
        answers.put(f"it closed the connection ({code}); check the certificates")

    def take(client: Client, _: object, message: MQTTMessage) -> None:
        try:
            admission.deliver(bytes(message.payload), "message")
        except Refused as error:
            note(str(error))
        except OSError as error:  # not acknowledged: the broker keeps it
            failures.append(error)
            return
        client.ack(message.mid, message.qos)

    client = Client(
        CallbackAPIVersion.VERSION2, broker.client_id, clean_session=False, manual_ack=True
    )
    if broker.authorities is not None:
        own, key = (None if x is None else str(x) for x in (broker.certificate, broker.key))
        try:
            client.tls_set(str(broker.authorities), own, key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        except (OSError, ValueError, ssl.SSLError) as error:
            raise InputError(f"TLS of {broker.host}: {error}; check the files") from error
    elif broker.host not in ("127.0.0.1", "::1", "localhost"):
        raise InputError(
            f"{broker.host}: reports come from other machines over TLS alone; give --client-ca"
        )
    client.on_connect, client.on_subscribe = connected, granted
    client.on_disconnect, client.on_message = closed, take
    where = f"{broker.host}:{broker.port}"
    try:
        client.connect(broker.host, broker.port)
    except (OSError, ssl.SSLError) as error:
        raise LinkError(f"{where}: the broker does not answer: {error}") from error
    client.loop_start()
    try:
        try:
            why = answers.get(timeout=_CONNECT_S)
        except queue.Empty:
            why = f"no answer within {_CONNECT_S:.0f} s"
        if why:
            raise LinkError(f"{where}: the broker does not let this client in: {why}")
        yield failures
    finally:
        client.disconnect()
        client.loop_stop()
