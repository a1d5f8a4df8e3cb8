# SPDX-License-Identifier: Apache-2.0
"""A release offers none of a rig's frames; capabilities are what the port can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.wire import rig
from tinyfin.errors import TargetError
from tinyfin.hil.lines.host import build_host_terminal
from tinyfin.pack.signing import generate_key
from tinyfin.wire.client import Client
from tinyfin.wire.links import ProcessLink
from tinyfin.wire.messages import Capability

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def release_program() -> str:
    key = generate_key()
    pack = rig.make_pack(key=key)
    return str(
        build_host_terminal(
            pack, keys=(key.public,), cflags=("-O1", "-Werror"), defines=("TFIN_RELEASE",)
        )
    )


@pytest.fixture
def release(release_program: str) -> Iterator[Client]:
    client = Client(ProcessLink([release_program]), deadline_s=10.0)
    client.connect()
    yield client
    client.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.read_state(),
        lambda client: client.write_state(bytes(client.hello.state_bytes)),
        lambda client: client.infer(bytes(client.hello.inputs)),
        lambda client: client.exit(3),
    ],
    ids=["STATE_READ", "STATE_WRITE", "INFER", "EXIT"],
)
def test_a_release_does_not_offer(release: Client, ask: Callable[[Client], object]) -> None:
    before = release.checkpoint().state_digest
    with pytest.raises(TargetError, match="NOT_OFFERED"):
        ask(release)
    assert release.checkpoint().state_digest == before


def test_a_release_says_so_in_hello(release: Client) -> None:
    can = release.hello.capabilities
    assert can == Capability.TICKS | Capability.REBOOT
    release.reboot()
    assert release.connect().open_error == 0


def test_a_rig_offers_them(client: Client) -> None:
    assert client.hello.capabilities == (
        Capability.TICKS | Capability.INFER | Capability.REBOOT | Capability.EXIT
    )
    image = client.read_state()
    client.write_state(image)
    assert client.stats()["receive_overruns"] == 0


def test_a_stack_is_not_announced_where_it_is_not_measured(client: Client) -> None:
    assert client.stack() == (0, 0)
