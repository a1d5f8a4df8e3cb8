# SPDX-License-Identifier: Apache-2.0
"""Options of the commands that answer over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin import optional_packages
from tinyfin.cli.output import FILE, as_one, claim, emit, json_option, note

if TYPE_CHECKING:
    from tinyfin.serving.service import Options, Service

__all__ = ["Served", "serving_options"]

_OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at."),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=0,
        help="Port to listen at; a free one, which is printed, if not given.",
    ),
    click.option(
        "--allow-host",
        "allow_hosts",
        multiple=True,
        metavar="NAME",
        help="A further host name by which clients may ask; may be given again.",
    ),
    click.option(
        "--state",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        help="Keep what was learned in this folder; nothing outlives the process if not given.",
    ),
    click.option(
        "--sync",
        is_flag=True,
        help="Answer when an event is on the disk: it outlives a power cut, too.",
    ),
    click.option(
        "--save-every-s",
        type=click.FloatRange(1, 86_400),
        default=300,
        show_default=True,
        help="Seconds from one snapshot to the next.",
    ),
    click.option(
        "--card-shaped-tokens",
        is_flag=True,
        help="Tokens look like card numbers, as some of a vault do: one alone is not refused.",
    ),
    click.option("--tls-cert", type=FILE, help="Certificate chain (PEM): answer by TLS."),
    click.option("--tls-key", type=FILE, help="Its private key (PEM)."),
    click.option(
        "--tls-client-ca",
        type=FILE,
        help="Answer only clients with a certificate of this authority (PEM).",
    ),
    click.option(
        "--deadline-s",
        type=click.FloatRange(0.1, 600),
        default=10,
        show_default=True,
        help="Seconds within which a request must arrive.",
    ),
)


@dataclass(frozen=True)
class Served:
    """What the options say: where to listen, whom to trust, what a request may take."""

    host: str
    port: int
    allow_hosts: tuple[str, ...]
    folder: Path | None
    sync: bool
    save_every_s: float
    card_shaped_tokens: bool
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    deadline_s: float
    as_json: bool

    def claim(self) -> None:
        """Usage errors, and the state's folder for this process alone."""
        optional_packages.require(optional_packages.EXTRAS["serve"], "to answer over HTTP")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise click.UsageError("--tls-cert and --tls-key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise click.UsageError("--tls-client-ca goes with --tls-cert and --tls-key")
        if self.folder is None:
            if self.sync:
                raise click.UsageError("--sync goes with --state")
            note("nothing is kept when this process ends; give --state FOLDER to keep it")
        else:
            claim(self.folder / "state", make_folder=True)

    def options(self) -> Options:
        """Of the service."""
        return {
            "folder": self.folder,
            "sync": self.sync,
            "save_every_s": self.save_every_s,
            "card_shaped_tokens": self.card_shaped_tokens,
        }

    def answer(self, service: Service) -> None:
        """Answer until a signal ends the process."""
        if self.folder is not None:
            # what a process that was killed has left of a snapshot goes
            claim(self.folder / service.snapshot_name)
        from tinyfin.http_server import Listening, configured, known_hosts, serve
        from tinyfin.serving.web import Limits, application

        limits = Limits(deadline_s=self.deadline_s)
        where = Listening(self.host, self.port, self.tls_cert, self.tls_key, self.tls_client_ca)
        app = application(service, limits, known_hosts(self.host, self.allow_hosts))
        serve(
            configured(app, where, limits.deadline_s, limits.connections),
            where,
            lambda address: emit({"address": address}, self.as_json, f"answers at {address}"),
        )


serving_options = as_one("served", Served, *_OPTIONS, json_option)
"""The options of every service, given to a command as one ``served``."""
