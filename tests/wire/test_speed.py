# SPDX-License-Identifier: Apache-2.0
"""The speed of a line is raised while it is used, and both ends find back when it was too high."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.cable import Cable, build_terminal
from tinyfin.errors import LinkError, ProtocolError, TargetError
from tinyfin.hil.links.faults import Chaos
from tinyfin.hil.links.session import emulated
from tinyfin.targets import build as building
from tinyfin.targets import catalogue
from tinyfin.wire.client import SPEEDS, Client, TargetRebooted, speeds_between
from tinyfin.wire.messages import Answer, Capability, Request
from tinyfin.wire.serial_link import SerialLink

pytestmark = pytest.mark.live


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    with Cable(build_terminal(sample.make_pack()), tmp_path / "port") as cable:
        yield cable


@contextmanager
def client_at(cable: Cable, **how: object) -> Iterator[Client]:
    with closing(SerialLink(cable.name)) as link:
        yield Client(link, **{"deadline_s": 10.0, "answer_timeout_s": 1.0, **how})  # type: ignore[arg-type]  # any option


def test_speeds_to_try() -> None:
    assert speeds_between(115_200, 921_600) == [921_600, 460_800, 230_400]
    assert speeds_between(115_200, 500_000) == [500_000, 460_800, 230_400]
    assert speeds_between(115_200, 115_200) == []
    assert speeds_between(115_200, 12_000_000)[1:] == list(SPEEDS)


def test_the_line_becomes_as_fast_as_both_ends_can(cable: Cable) -> None:
    """The terminal knows no 3,000,000, and 460,800 would be slower."""
    with client_at(cable, speed_up_to=3_000_000) as client:
        assert client.connect().capabilities & Capability.SPEED
        assert client.baud == cable.host_baud == cable.terminal_baud == 921_600
        # on a busy machine the host may have changed its speed before the terminal runs again
        at_the_change = cable.noise_bytes
        sample.replayed(client).check()
        assert client.baud == 921_600
        assert client.damaged == 0
    assert cable.noise_bytes == at_the_change


def test_it_stays_as_it_is_unless_that_is_asked_for(cable: Cable) -> None:
    with client_at(cable) as client:
        client.connect()
        sample.replayed(client).check()
    assert cable.speeds == [115_200]


def test_a_speed_that_the_cable_does_not_carry_is_left(cable: Cable) -> None:
    cable.carries = 230_400
    with client_at(cable, speed_up_to=921_600) as client:
        client.connect()
        assert client.baud == cable.terminal_baud == 230_400
        assert cable.noise_bytes > 0
        assert cable.speeds[-1] == 230_400
        sample.replayed(client).check()
        tried = list(cable.speeds)
        client.connect()
        assert client.baud == 230_400
        assert cable.speeds == tried, "what failed once is not tried again"


def test_a_port_that_cannot_do_a_speed_is_asked_for_less(
    cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter refuses it, before the terminal hears of it."""
    change = SerialLink.set_baud

    def refuses(link: SerialLink, baud: int) -> None:
        if baud > 460_800:
            raise ValueError("not this adapter")
        change(link, baud)

    monkeypatch.setattr(SerialLink, "set_baud", refuses)
    with client_at(cable, speed_up_to=921_600) as client:
        client.connect()
        assert client.baud == 460_800
    assert 921_600 not in cable.speeds


def test_a_host_that_comes_again_speaks_at_the_first_speed(cable: Cable) -> None:
    """The one before it was ended: it could not put the speed back."""
    with client_at(cable, speed_up_to=921_600) as client:
        nonce = client.connect().boot_nonce
    assert cable.terminal_baud == 921_600
    with client_at(cable) as client:
        assert client.connect().boot_nonce == nonce, "no restart was needed"
        assert client.baud == cable.terminal_baud == 115_200
        sample.replayed(client).check()


def test_control_two_speeds_are_noise(cable: Cable) -> None:
    with client_at(cable, speed_up_to=921_600) as client:
        client.connect()
        client.link.set_baud(460_800)  # type: ignore[attr-defined]  # a serial link
        client.link.first_baud = 460_800  # type: ignore[attr-defined]  # and nothing else to go back to
        with pytest.raises(TargetError, match="no HELLO"):
            client.connect(2.0)


def test_a_cable_that_gets_worse_costs_speed_and_no_answer(cable: Cable) -> None:
    with client_at(cable, speed_up_to=921_600) as client:
        nonce = client.connect().boot_nonce
        assert client.baud == 921_600
        before = client.checkpoint()
        cable.carries = 115_200
        assert client.checkpoint() == before
        assert client.baud == cable.terminal_baud == 115_200
        assert client.hello.boot_nonce == nonce
        sample.replayed(client).check()


def test_a_restart_at_a_high_speed_is_noticed(cable: Cable) -> None:
    with client_at(cable, speed_up_to=921_600) as client:
        client.connect()
        cable.power_off()
        cable.power_on()
        with pytest.raises(TargetRebooted):
            client.stats()
        client.connect()
        assert client.baud == cable.terminal_baud == 921_600


def test_a_restart_while_the_speed_is_raised(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between HELLO and the request: a connection that is not yet made loses nothing."""
    raises, tries = Client._raise_speed, []

    def restarts_first(client: Client) -> None:
        tries.append(client.hello.boot_nonce)
        if len(tries) == 1:
            cable.power_off()
            cable.power_on()
        raises(client)

    monkeypatch.setattr(Client, "_raise_speed", restarts_first)
    with client_at(cable, speed_up_to=921_600) as client:
        assert client.connect().boot_nonce == tries[-1] != tries[0]
        assert client.baud == 921_600


def test_a_restart_that_is_asked_for(cable: Cable) -> None:
    with client_at(cable, speed_up_to=921_600) as client:
        client.connect()
        client.reboot()
        assert client.baud == 115_200
        client.connect()
        assert client.baud == cable.terminal_baud == 921_600


def test_faults_and_restarts_at_a_high_speed(cable: Cable) -> None:
    with client_at(cable, speed_up_to=921_600) as client:
        chaos = Chaos.parse("fault=1/3000,reboot=1/100,seed=3")
        how = {"limit": 200, "on_reboot": "resume", "checkpoint_events": 60}
        result = sample.replayed(client, chaos=chaos, **how)
        result.check()
        assert result.verdicts == 200


def test_unplugged_and_plugged_in_again_in_the_middle(cable: Cable) -> None:
    """Another port is then behind the same link; the terminal has run on."""
    done = 0

    def progress(verdicts: int) -> None:
        nonlocal done
        if done < 50 <= done + verdicts:
            cable.unplug()
            threading.Timer(0.3, cable.plug).start()
        done += verdicts

    with client_at(cable, speed_up_to=921_600) as client:
        nonce = client.connect().boot_nonce
        assert client.baud == 921_600
        result = sample.replayed(client, on_reboot="resume", progress=progress, limit=200)
        result.check()
        assert result.verdicts == 200
        assert client.counters.reconnects >= 1
        assert client.hello.boot_nonce == nonce
        assert client.baud == cable.terminal_baud == 115_200


def test_unplugged_for_good(cable: Cable) -> None:
    with client_at(cable, speed_up_to=921_600, reconnect=True, deadline_s=2.0) as client:
        client.connect()
        cable.unplug()
        with pytest.raises(LinkError, match="the line is broken"):
            client.stats()


def test_a_terminal_on_a_pipe_has_no_speed(client: Client) -> None:
    assert not client.hello.capabilities & Capability.SPEED
    with pytest.raises(ProtocolError, match="NOT_OFFERED"):
        client.request(Request.SPEED_REQUEST, Answer.SPEED, (921_600).to_bytes(4, "little"))


def ask(client: Client, baud: int) -> int:
    asked = baud.to_bytes(4, "little")
    return int.from_bytes(client.request(Request.SPEED_REQUEST, Answer.SPEED, asked), "little")


def test_an_emulated_uart_is_set_and_goes_on(tmp_path: Path) -> None:
    """The registers are written while the line is used; QEMU passes bytes at any speed."""
    pack = tmp_path / "model.tfpack"
    pack.write_bytes(sample.make_pack())
    target = catalogue.get("rv32imc")
    with emulated(target, building.build(target, pack=pack).elf) as session:
        client = session.client
        assert client.connect().capabilities & Capability.SPEED
        assert ask(client, 460_800) == 115_200
        assert ask(client, 230_400) == 230_400
        sample.replayed(client, limit=60).check()
        assert ask(client, 115_200) == 115_200
        assert client.stats()["frames_damaged"] == 0
