# SPDX-License-Identifier: Apache-2.0
"""Reaches a terminal: an image in the emulator, or whatever answers at a port."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyfin.pack.trust import keys_beside
from tinyfin.targets import build as building
from tinyfin.targets import catalogue, flash
from tinyfin.targets.catalogue import Target
from tinyfin.targets.emulate import Emulator
from tinyfin.wire.client import Client
from tinyfin.wire.links import open_link

__all__ = ["Session", "at_port", "emulated", "image_of"]


@dataclass(frozen=True)
class Session:
    """A client on its way to a terminal, and what is known of the target behind it."""

    client: Client
    target: str
    instructions: Callable[[int], int] | None = None
    """Ticks to guest instructions, where the target counts them."""
    flash_bytes: int | None = None
    ram_bytes: int | None = None


def image_of(run: Path, target: Target, keys: Sequence[bytes] | None = None) -> Path:
    """The run's image for an emulated target: the one that was flashed or built, else a new one.

    keys: public keys that a new one trusts; the run's own if None. Raises ToolError, BudgetError
    as the build does.
    """
    image = flash.flashed_image(run, target)
    if image is None:
        keys = keys_beside(run) if keys is None else keys
        result = building.build(target, pack=flash.target_pack(run, target, keys), keys=keys)
        image = flash.store_image(result, flash.run_folder(run))
    return image


@contextlib.contextmanager
def emulated(
    target: Target | str, image: Path, *, icount: bool = True
) -> Iterator[Session]:
    """Boot an image in the emulator; it ends with the context. Not yet connected."""
    chosen = catalogue.get(target) if isinstance(target, str) else target
    sizes: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        sizes = json.loads((image.parent / "image.json").read_text(encoding="utf-8"))
    with Emulator(chosen, image, icount=icount) as emulator:
        client = Client(open_link(emulator.url))
        try:
            yield Session(
                client, chosen.name,
                chosen.emulator.instructions if icount and chosen.emulator else None,
                sizes.get("flash_bytes"), sizes.get("ram_bytes"),
            )  # fmt: skip
        finally:
            client.close()


@contextlib.contextmanager
def at_port(url: str, *, baud: int = 115200) -> Iterator[Session]:
    """Talk to what answers at a serial port or URL. Not yet connected."""
    client = Client(open_link(url, baud=baud))
    try:
        yield Session(client, url)
    finally:
        client.close()
