# SPDX-License-Identifier: Apache-2.0
"""Reports over MQTT: each message of a topic is a report, acknowledged when it is in the inbox.

Nothing rests on the broker: it may deliver a message again, and loses those that it has no space
for. A terminal that sends its report until a newer one replaces it loses none.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyfin import optional_packages
from tinyfin.errors import InputError, LinkError
from tinyfin.fleet.admission import Admission, Refused

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

__all__ = ["Broker", "Subscriber"]

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


class Subscriber:
    """Takes messages from :meth:`start` until :meth:`stop`; reconnects by itself."""

    def __init__(self, broker: Broker, admission: Admission, note: Callable[[str], object]) -> None:
        """``note`` gets what is refused. Raises ToolError without paho-mqtt, InputError for
        files of TLS that are wrong."""
        optional_packages.require(["paho"], "to take reports over MQTT")
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._broker, self._admission, self._note = broker, admission, note
        self._ready = threading.Event()
        self._refusal = ""
        self.failure: OSError | None = None
        """Why reports can no longer be kept, such as a full disk."""
        client = Client(
            CallbackAPIVersion.VERSION2, broker.client_id, clean_session=False, manual_ack=True
        )
        if broker.authorities is not None:
            try:
                client.tls_set(
                    str(broker.authorities),
                    None if broker.certificate is None else str(broker.certificate),
                    None if broker.key is None else str(broker.key),
                    tls_version=ssl.PROTOCOL_TLS_CLIENT,
                )
            except (OSError, ValueError, ssl.SSLError) as error:
                raise InputError(f"TLS of {broker.host}: {error}; check the files") from error
        elif broker.host not in ("127.0.0.1", "::1", "localhost"):
            raise InputError(
                f"{broker.host}: reports come from other machines over TLS alone; give --client-ca"
            )
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._closed
        client.on_message = self._take
        self._client = client

    def start(self) -> None:
        """Raises LinkError when the broker does not let it in within 20 s."""
        where = f"{self._broker.host}:{self._broker.port}"
        try:
            self._client.connect(self._broker.host, self._broker.port)
        except (OSError, ssl.SSLError) as error:
            raise LinkError(f"{where}: the broker does not answer: {error}") from error
        self._client.loop_start()
        if not self._ready.wait(_CONNECT_S) or self._refusal:
            self.stop()
            why = self._refusal or f"no answer within {_CONNECT_S:.0f} s"
            raise LinkError(f"{where}: the broker does not let this client in: {why}")

    def stop(self) -> None:
        """What was not acknowledged comes again next time."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Client, _: object, __: object, code: object, ___: object) -> None:
        if getattr(code, "is_failure", False):
            self._refusal = str(code)
            self._ready.set()
        else:
            client.subscribe(self._broker.topic, _QOS)

    def _subscribed(self, _: Client, __: object, ___: int, codes: Any, ____: object) -> None:
        refused = [str(code) for code in codes if getattr(code, "is_failure", False)]
        self._refusal = ", ".join(refused)
        self._ready.set()

    def _closed(self, _: Client, __: object, ___: object, code: object, ____: object) -> None:
        if not self._ready.is_set():
            self._refusal = f"it closed the connection ({code}); check the certificates"
            self._ready.set()

    def _take(self, client: Client, _: object, message: MQTTMessage) -> None:
        try:
            self._admission.deliver(bytes(message.payload), "message")
        except Refused as error:
            self._note(str(error))
        except OSError as error:  # not acknowledged: the broker keeps it
            self.failure = error
            return
        client.ack(message.mid, message.qos)
