# SPDX-License-Identifier: Apache-2.0
"""The gateway to hawkBit, against a server that answers as its DDI is documented."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.hawkbit import Stub, hawkbit
from tinyfin.errors import InputError, LinkError
from tinyfin.field.keys import terminal_keys
from tinyfin.field.report import Report, Tag, encode
from tinyfin.fleet import hawkbit as gateways
from tinyfin.fleet.hawkbit import Gateway, Offer, Server, read_tokens
from tinyfin.fleet.lake import Lake
from tinyfin.output_claims import claimed
from tinyfin.pack.container import open_pack
from tinyfin.wire.slot_frames import Phase, Reason

pytestmark = pytest.mark.live
T = bench.terminal(0)
NAME = T.hex()
PACK = bench.PACK.read_bytes()
ID = open_pack(PACK).pack_id
OLD = bytes(range(8))
DAY = bench.FIRST_DAY


def report(
    day: float, runs: bytes, active: bytes, other: bytes, phase: Phase, reason: Reason
) -> bytes:
    """Of terminal T, as its journal says it."""
    slots = struct.pack(
        "<BBB4s4sIIHH", 0, int(phase) << 4, int(reason), active[:4], other[:4], 0, 0, 0, 0
    )
    at, sections = int(day * 24), ((int(Tag.SLOTS), slots),)
    made = Report(T, 1, at, runs[:8], at * 3600, sections)
    return encode(made, terminal_keys(bench.FLEET, T).report).data


def in_trial(day: float) -> bytes:
    return report(day, ID, OLD, ID, Phase.TRIAL, Reason.NONE)


def confirmed(day: float, pack: bytes = ID) -> bytes:
    return report(day, pack, pack, OLD, Phase.NONE, Reason.CONFIRMED)


def fell_back(day: float) -> bytes:
    return report(day, OLD, OLD, ID, Phase.NONE, Reason.SHADOW)


class World:
    """hawkBit's stub, a lake and the gateway between them, at the beginning of day DAY."""

    def __init__(self, stub: Stub, folder: Path) -> None:
        self.stub, self.lake = stub, bench.new_lake(folder / "lake")
        self.day = float(DAY)
        self.offer = folder / "offers" / NAME / "offer.json"
        self.gateway = Gateway(
            self.lake,
            Server(stub.url, "DEFAULT"),
            {NAME: "TargetToken abc"},
            folder / "offers",
            now_s=lambda: gateways.EPOCH_UNIX_S + 86_400 * self.day,
        )

    def after(self, days: float, *reports: bytes) -> list[tuple[str, str]]:
        """What hawkBit hears so many days after the deployment, with these reports in the lake."""
        self.day = DAY + days
        bench.take(self.lake, *reports)
        self.gateway.poll(lambda text: pytest.fail(text))
        return self.stub.said


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with hawkbit() as stub:
        yield World(stub, tmp_path)


def deployed(world: World) -> None:
    world.stub.deploy(NAME, "8", PACK)
    assert world.after(0) == [("proceeding", "none")]


def test_success_is_a_report_that_says_so(world: World) -> None:
    assert world.after(0) == []
    deployed(world)
    assert Offer.read(world.offer).pack == ID.hex()
    assert (world.offer.parent / "model.tfpack").read_bytes() == PACK
    assert world.after(1, bench.forged(confirmed(DAY + 1))) == []
    assert world.after(1, confirmed(DAY + 1, b"another one.....")) == []
    assert world.after(1.2, in_trial(DAY + 1.2)) == [("proceeding", "none")]
    assert world.after(1.4) == []
    assert world.after(1.5, confirmed(DAY + 1.5)) == [("closed", "success")]
    assert not world.offer.parent.exists()
    assert world.after(2) == []
    assert world.gateway.sleep_s == 605
    assert world.stub.tokens == {"TargetToken abc"}


def test_a_gateway_that_believes_everything_would_be_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(world)
    monkeypatch.setattr(Gateway, "_stage", lambda *_: "confirmed")
    assert world.after(0.1) == [("closed", "success")]


def test_failures(world: World) -> None:
    deployed(world)
    assert world.after(1, fell_back(DAY + 1)) == [("closed", "failure")]
    world.stub.deploy(NAME, "9", PACK)  # once more: what was before it does not count
    assert world.after(2) == [("proceeding", "none")]
    assert world.after(2.1) == []
    assert world.after(2.5, fell_back(DAY + 2.5)) == [("closed", "failure")]


def test_a_terminal_that_is_silent_or_takes_too_long_has_failed(world: World) -> None:
    deployed(world)
    assert world.after(2.9) == []
    assert world.after(3.1) == [("closed", "failure")]
    world.stub.deploy(NAME, "9", PACK)
    assert world.after(4) == [("proceeding", "none")]
    for day in range(6, 34, 2):
        assert world.after(day, confirmed(DAY + day, OLD)) == []
    assert world.after(34.1, confirmed(DAY + 34, OLD)) == [("closed", "failure")]


def test_a_cancelled_action(world: World) -> None:
    deployed(world)
    world.stub.cancels[NAME] = ("11", "8")
    assert world.after(0.1) == [("closed", "success")]
    assert not world.offer.exists()
    world.stub.deploy(NAME, "9", PACK)
    world.after(1, in_trial(DAY + 1))
    world.stub.cancels[NAME] = ("12", "9")
    assert world.after(1.1) == [("rejected", "none")]
    assert world.offer.exists()
    assert (
        world.after(1.2, confirmed(DAY + 1.2))
        == [("proceeding", "none"), ("closed", "success")][1:]
    )
    world.stub.deploy(NAME, "13", PACK)
    world.after(2)
    del world.stub.deployments[NAME]  # an operator ended it by force
    assert world.after(2.1) == []
    assert not world.offer.exists()


def test_a_deployment_that_is_not_for_now(world: World) -> None:
    for plan in ({"update": "skip"}, {"download": "skip"}, {"maintenanceWindow": "unavailable"}):
        world.stub.deploy(NAME, "8", PACK, **plan)
        assert world.after(0) == []
        assert not world.offer.exists()


def test_packs_that_are_refused(world: World) -> None:
    signed = bytearray(PACK)
    signed[-1] ^= 1
    for data, sha256, why in ((bytes(signed), None, "digest"), (PACK, 64 * "0", "SHA-256")):
        world.stub.sha256 = sha256
        world.stub.deploy(NAME, "8", data)
        world.gateway.poll()
        [(_, body)] = world.stub.feedback
        assert why in body["status"]["details"][0]
        assert world.stub.said == [("closed", "failure")]
        assert not world.offer.exists()


def test_a_pack_that_another_key_signed(world: World) -> None:
    """With a key of one's own, those of the development key, too."""
    world.gateway.keys = [bytes(range(32))]
    world.stub.deploy(NAME, "8", PACK)
    assert world.after(0) == [("closed", "failure")]
    assert not world.offer.exists()


def test_a_download_that_fails_is_tried_again(world: World) -> None:
    world.stub.deploy(NAME, "8", PACK)
    get = world.stub.get
    world.stub.get = lambda parts: None if parts == ["artifact"] else get(parts)  # type: ignore[method-assign]
    told: list[str] = []
    world.gateway.poll(told.append)
    assert "answers 404" in told[0]
    assert world.stub.said == []
    world.stub.get = get  # type: ignore[method-assign]
    assert world.after(0.1) == [("proceeding", "none")]


def test_feedback_that_does_not_arrive_is_given_again(world: World) -> None:
    deployed(world)
    bench.take(world.lake, confirmed(DAY + 0.5))
    world.day, world.stub.fails = DAY + 0.6, 1
    told: list[str] = []
    world.gateway.poll(told.append)
    assert "answers 500" in told[0]
    assert world.after(0.6) == [("closed", "success")]


def test_no_other_host_gets_the_token(world: World, tmp_path: Path) -> None:
    world.stub.deploy(NAME, "8", PACK)
    with hawkbit() as other:
        world.stub.elsewhere = other.url
        told: list[str] = []
        world.gateway.poll(told.append)
        assert "no other host" in told[0]
        assert other.tokens == set()
    for url in ("http://hawkbit.example.org", "ftp://127.0.0.1", "127.0.0.1"):
        with pytest.raises(InputError, match="give https"):
            Server(url, "DEFAULT")


def test_only_reports_of_now_count(world: World) -> None:
    """Not of a year ago, nor of a clock that was in 2100 once."""
    bench.take(world.lake, confirmed(DAY - 300))
    deployed(world)
    assert world.after(0.1, confirmed(36_524, OLD)) == []
    assert world.after(1, fell_back(DAY + 1)) == [("closed", "failure")]
    world.stub.deploy(NAME, "9", PACK)
    assert world.after(2) == [("proceeding", "none")]
    assert world.after(9) == [("closed", "failure")], "silent"


@pytest.mark.parametrize(("size", "pause_s", "deadline_s"), [(2000, 0.001, 30), (1, 0.05, 0.5)])
def test_a_body_without_an_end_is_no_pack_that_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int, pause_s: float, deadline_s: float
) -> None:
    """Nor does it keep other terminals waiting."""
    world.gateway.tokens = {NAME: "TargetToken abc", bench.terminal(1).hex(): "TargetToken b"}
    world.stub.deploy(NAME, "8", PACK)
    call, told, over = world.gateway.server.call, list[str](), threading.Event()
    monkeypatch.setattr(gateways, "_MOST_BYTES", 1000)
    with socket.create_server(("127.0.0.1", 0)) as server:
        slow = Server(f"http://127.0.0.1:{server.getsockname()[1]}", "DEFAULT")

        def drip() -> None:
            line, _ = server.accept()
            with line, contextlib.suppress(OSError):
                line.recv(1 << 16)
                line.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                while not over.wait(pause_s):
                    line.sendall(bytes(size))

        def answer(url: str, token: str, body: object = None) -> bytes:
            if not url.endswith("/artifact"):
                return call(url, token, body)
            with monkeypatch.context() as patch:
                patch.setattr(gateways, "_DEADLINE_S", deadline_s)
                return slow.call(f"{slow.root}/artifact", "x")

        sender = threading.Thread(target=drip)
        sender.start()
        monkeypatch.setattr(world.gateway.server, "call", answer)
        done = world.gateway.poll(told.append)
        over.set()
        sender.join(60)
    assert "gave no answer" in told[0]
    assert done == {"failed": 1, "nothing to do": 1}
    assert world.stub.said == []


def test_one_gateway_uses_a_folder_of_offers(world: World) -> None:
    found: list[BaseException] = []

    def second() -> None:
        try:
            world.gateway.poll()
        except InputError as error:
            found.append(error)

    with claimed(world.gateway.offers, make_folder=True):
        other = threading.Thread(target=second)
        other.start()
        other.join(60)
    assert "is using this name" in str(found[0])


def test_a_server_that_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "_DEADLINE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        world.gateway.server = Server(f"http://127.0.0.1:{port}", "DEFAULT")
        with pytest.raises(LinkError, match="gave no answer"):
            world.gateway.poll()
    with pytest.raises(LinkError):
        world.gateway.poll()


def test_tokens(tmp_path: Path) -> None:
    (tmp_path / "ids").write_text(f"{NAME} own\n{bench.terminal(1).hex()}\n")
    (tmp_path / "token").write_text("shared\n")
    found = read_tokens(tmp_path / "ids", tmp_path / "token")
    assert list(found.values()) == ["TargetToken own", "GatewayToken shared"]
    with pytest.raises(InputError, match="line 2"):
        read_tokens(tmp_path / "ids", None)


def test_from_the_command_line(tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    assert Lake(lake.path).settings == lake.settings
    (tmp_path / "ids").write_text(f"{NAME}\n")
    (tmp_path / "token").write_text("shared\n")
    words = f"--terminals {tmp_path / 'ids'} --token-file {tmp_path / 'token'}"
    with hawkbit() as stub:
        stub.deploy(NAME, "8", PACK)
        line = f"fleet hawkbit {lake.path} --url {stub.url} --offers {tmp_path / 'offers'} {words}"
        assert tinyfin_json(line) == {"offered": 1}
        [(_, body)] = stub.feedback
        assert body.keys() == {"id", "time", "timestamp", "status"}
        assert (body["id"], body["status"]["details"]) == ("8", ["offered"])
        assert stub.tokens == {"GatewayToken shared"}
    assert "gave no answer" in tinyfin(line, code=5).output
