# SPDX-License-Identifier: Apache-2.0
"""A release answers HELLO and STATS alone; for acceptance tests also events; HELLO says which."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support import sample
from tests.support.cli import tinyfin
from tinyfin.errors import ConfigError, TargetError
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.hil.replay.replayer import replay
from tinyfin.hil.runs.selftest import self_test
from tinyfin.pack.signing import Key, generate_key
from tinyfin.wire.client import Client
from tinyfin.wire.links import ProcessLink
from tinyfin.wire.messages import Answer, Capability, Request

pytestmark = pytest.mark.live


def program(key: Key, *defines: str) -> str:
    return str(
        build_host_terminal(
            sample.make_pack(key=key),
            keys=(key.public,),
            cflags=("-O1", "-Werror"),
            defines=defines,
        )
    )


@pytest.fixture(scope="module")
def key() -> Key:
    return generate_key()


@pytest.fixture(scope="module")
def release_program(key: Key) -> str:
    return program(key, "TFIN_RELEASE")


@pytest.fixture(scope="module")
def acceptance_program(key: Key) -> str:
    return program(key, "TFIN_RELEASE", "TFIN_RELEASE_REPLAY")


def connected(path: str) -> Iterator[Client]:
    client = Client(ProcessLink([path]), deadline_s=10.0)
    client.connect()
    yield client
    client.close()


@pytest.fixture
def release(release_program: str) -> Iterator[Client]:
    yield from connected(release_program)


@pytest.fixture
def acceptance(acceptance_program: str) -> Iterator[Client]:
    yield from connected(acceptance_program)


Ask = Callable[[Client], object]

STATE: dict[str, Ask] = {
    "STATE_RESET": lambda client: client.reset_state(),
    "STATE_READ": lambda client: client.read_state(),
    "STATE_WRITE": lambda client: client.write_state(bytes(client.hello.state_bytes)),
    "DETAIL_READ": lambda client: client.detail(0),
    "INFER": lambda client: client.infer(bytes(client.hello.inputs)),
    "STACK_REQUEST": lambda client: client.stack(),
    "EXIT": lambda client: client.exit(3),
    "SPEED_REQUEST": lambda client: client.request(Request.SPEED_REQUEST, Answer.SPEED, bytes(4)),
}
REPLAY: dict[str, Ask] = {
    "EVENTS": lambda client: client.ordered(Request.EVENTS, b"\0"),
    "CHECKPOINT_REQUEST": lambda client: client.checkpoint(),
    "REBOOT": lambda client: client.reboot(),
}


def test_every_request_is_tried() -> None:
    """A request that is added to the wire must be judged here, too."""
    always = {"HELLO", "STATS"}
    # of terminals with slots, which the host's is not: test_install
    always |= {"SLOT_INFO", "PACK_BEGIN", "PACK_DATA", "PACK_END", "SLOT_COMMAND"}
    # test_operators_day, test_commands
    always |= {"CHALLENGE", "COMMAND", "KEYS", "PROVISION", "NOTICES"}
    always |= {"AUDIT_READ", "REPORT_READ"}  # test_audit
    always |= {"PROBATION_READ"}  # test_probation
    always |= {"MONITOR_READ"}  # test_monitor
    named = {name.removesuffix("_REQUEST") for name in (*STATE, *REPLAY)}
    assert named | always == {request.name.removesuffix("_REQUEST") for request in Request}


@pytest.mark.parametrize("name", [*STATE, *REPLAY])
def test_a_release_does_not_offer(release: Client, name: str) -> None:
    before = release.stats()
    nonce = release.hello.boot_nonce
    with pytest.raises(TargetError, match="NOT_OFFERED"):
        (STATE | REPLAY)[name](release)
    after = release.stats()
    assert after["frames_good"] > before["frames_good"]
    assert {**after, "frames_good": 0} == {**before, "frames_good": 0}
    assert release.connect().boot_nonce == nonce


def test_a_release_says_so_in_hello(release: Client) -> None:
    assert release.hello.capabilities == Capability.TICKS


@pytest.mark.parametrize("name", STATE)
def test_a_release_for_acceptance_tests_takes_no_state(acceptance: Client, name: str) -> None:
    before = acceptance.checkpoint().state_digest
    with pytest.raises(TargetError, match="NOT_OFFERED"):
        STATE[name](acceptance)
    assert acceptance.checkpoint().state_digest == before


def test_a_release_for_acceptance_tests_replays(acceptance: Client, key: Key) -> None:
    assert acceptance.hello.capabilities == (
        Capability.TICKS | Capability.REBOOT | Capability.REPLAY
    )
    tx = sample.make_transactions()
    pack = sample.make_pack(key=key)
    result = replay(pack, tx, sample.make_stream(tx), acceptance, keys=(key.public,))
    result.check()
    assert result.terminals == len(set(tx.terminals)) > 1
    assert result.verdicts == len(tx)


def test_a_difference_on_a_release_is_seen(acceptance: Client, key: Key) -> None:
    tx = sample.make_transactions()
    other = sample.make_pack(tweak=1, key=key)
    result = replay(other, tx, sample.make_stream(tx), acceptance, keys=(key.public,))
    assert result.mismatches > 0
    assert "takes no state" in str(result.first_mismatch)


def test_a_replay_on_a_release_names_the_option(
    release: Client, acceptance: Client, key: Key
) -> None:
    tx = sample.make_transactions()
    stream = sample.make_stream(tx)
    pack = sample.make_pack(key=key)

    def run(client: Client, **options: object) -> None:
        replay(pack, tx, stream, client, keys=(key.public,), **options)  # type: ignore[arg-type]  # any option

    with pytest.raises(ConfigError, match="--release-replay"):
        run(release)
    with pytest.raises(ConfigError, match="cannot resume"):
        run(acceptance, on_reboot="resume")
    with pytest.raises(ConfigError, match="cannot start warm"):
        run(acceptance, warmup=(tx, stream))


def test_the_self_test_says_what_it_left_out(release: Client, key: Key) -> None:
    facts = self_test(release, sample.make_pack(key=key), (key.public,), "desk")
    assert "state" in facts.left_out[0]
    assert facts.stats["scored"] == 0


def test_the_doctor_warns_of_terminals_that_obey_anybody(
    release_program: str, acceptance_program: str
) -> None:
    def told(path: str) -> str:
        done = tinyfin(f"doctor --port exec:{path}", code=None)
        (line,) = [line for line in done.stdout.splitlines() if " terminal at " in line]
        return line

    assert told(release_program).startswith("ok")
    assert told(acceptance_program).startswith("WARNING")
    assert "acceptance" in told(acceptance_program)
    rigs = str(build_host_terminal(sample.make_pack()))
    assert "read and write its state" in told(rigs)


def test_a_rig_offers_them(client: Client) -> None:
    assert client.hello.capabilities == (
        Capability.TICKS
        | Capability.INFER
        | Capability.REBOOT
        | Capability.EXIT
        | Capability.REPLAY
        | Capability.STATE
    )
    image = client.read_state()
    client.write_state(image)
    assert client.stats()["receive_overruns"] == 0


def test_a_stack_is_not_announced_where_it_is_not_measured(client: Client) -> None:
    assert client.stack() == (0, 0)
