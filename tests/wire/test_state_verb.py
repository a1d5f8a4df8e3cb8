# SPDX-License-Identifier: Apache-2.0
"""`tinyfin state`: images shown, a card erased, made from data, moved over the wire."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.process import needs_cortex_m
from tinyfin import simulator
from tinyfin.config import Simulate, load
from tinyfin.data.readers import read
from tinyfin.hil.links import session
from tinyfin.oracle import OracleEngine
from tinyfin.pack.container import parse_pack
from tinyfin.twin import Twin
from tinyfin.wire.client import Client

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("state") / "model.tfpack"
    path.write_bytes(sample.make_pack())
    return path


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("state") / "town.parquet"
    simulator.write(simulator.simulate(Simulate(terminals=3, days=8, seed=2)), path)
    return path


@pytest.fixture(scope="module")
def terminal(town: Path) -> str:
    """One that is neither the first nor the last."""
    return read([town], load()).terminals[1]


@pytest.fixture(scope="module")
def image(pack: Path, town: Path, terminal: str) -> Path:
    path = pack.with_name("terminal.state")
    tinyfin("state export", pack, town, "--terminal", terminal, "--out", path)
    return path


def test_export_is_the_state_of_that_terminal_among_all(
    pack: Path, town: Path, terminal: str, image: Path
) -> None:
    from tinyfin.data.events import event_stream

    tx = read([town], load())
    twin = Twin(pack.read_bytes(), terminals=len(tx.terminals))
    twin.run(tx, event_stream(tx))
    assert image.read_bytes() == twin.export_state(tx.terminals.index(terminal))


def test_show_agrees_with_the_oracle(pack: Path, image: Path) -> None:
    facts = tinyfin_json("state show", image, "--pack", pack)
    parsed = parse_pack(pack.read_bytes())
    oracle = OracleEngine(parsed.program, parsed.sections["SCHM"])
    oracle.import_state(image.read_bytes())
    assert facts["stats"] == oracle.stats()
    pending = sum(entry is not None for entry in oracle.state.pending)
    assert facts["occupancy"]["pending"] == {"used": pending, "capacity": 8}
    cards = sum(card is not None for ways in oracle.state.cards for card in ways)
    assert facts["occupancy"]["cards"] == {"used": cards, "capacity": 64}
    assert cards > 10
    labels = facts["occupancy"]["terminal_labels"]
    assert labels == {"used": len(oracle.state.labels), "capacity": 32}
    assert "evictions" in tinyfin("state show", image, "--pack", pack).output


def test_an_erased_card_leaves_no_byte_of_its_token(
    pack: Path, town: Path, terminal: str, image: Path, tmp_path: Path
) -> None:
    tx = read([town], load())
    mine = tx.take(tx.terminal == tx.terminals.index(terminal))
    tokens = [int(t) for t in np.unique(mine.column("token")) if int(t)]
    before = image.read_bytes()
    kept = next(t for t in tokens if t.to_bytes(8, "little") in before)
    out = tmp_path / "erased.state"
    answer = tinyfin(
        "state erase", image, "--pack", pack, "--token", f"{kept:x}", "--out", out, "--json"
    )
    assert json.loads(answer.stdout)["erased"]["slots"] == 1
    assert kept.to_bytes(8, "little") not in out.read_bytes()
    used = [
        tinyfin_json("state show", path, "--pack", pack)["occupancy"]["cards"]
        for path in (image, out)
    ]
    assert used[0]["used"] == used[1]["used"] + 1
    again = tinyfin("state erase", out, "--pack", pack, "--token", f"0x{kept:x}", "--out", out)
    assert "was not in the state" in again.output


def test_what_is_wrong_is_named(pack: Path, town: Path, image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tfpack"
    program = parse_pack(pack.read_bytes())
    assert program.program
    from tinyfin.features.compiler import compile_program
    from tinyfin.pack.container import build_pack
    from tinyfin.schema import PAYMENT

    other.write_bytes(build_pack(PAYMENT, compile_program(["amt_log"], PAYMENT)))
    assert "state" in tinyfin("state show", image, "--pack", other, code=3).output
    damaged = tmp_path / "damaged.state"
    data = bytearray(image.read_bytes())
    data[200] ^= 1
    damaged.write_bytes(data)
    assert "refused" in tinyfin("state show", damaged, "--pack", pack, code=3).output
    assert "no state image" in tinyfin("state show", pack, "--pack", pack, code=3).output
    out = tmp_path / "out.state"
    for token in ("0", "xyz", "1" * 17):
        wrong = tinyfin(
            "state erase", image, "--pack", pack, "--token", token, "--out", out, code=3
        )
        assert "hexadecimal" in wrong.output
    nobody = tinyfin("state export", pack, town, "--terminal", "nobody", "--out", out, code=3)
    assert "no terminal 'nobody'" in nobody.output
    assert not out.exists()


def card_of(image: bytes, pack: Path) -> int:
    """A card that the state remembers."""
    parsed = parse_pack(pack.read_bytes())
    oracle = OracleEngine(parsed.program, parsed.sections["SCHM"])
    oracle.import_state(image)
    return next(c.token for ways in oracle.state.cards for c in ways if c is not None)


def test_over_the_wire_and_back(
    client: Client, pack: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def here(url: str, *, baud: int = 115200) -> Iterator[session.Session]:
        yield session.Session(client, url)

    monkeypatch.setattr(session, "at_port", here)
    back = tmp_path / "back.state"
    tinyfin("state write", image, "--port", "here")
    tinyfin("state read", "--port", "here", "--out", back)
    assert back.read_bytes() == image.read_bytes()
    shown = tinyfin_json("state digest", "--port", "here")
    assert shown["state_digest"] == tinyfin("state digest", image).output.split()[1]
    on_image = tinyfin_json("state show", image, "--pack", pack)["stats"]
    assert {name: shown["stats"][name] for name in on_image} == on_image
    assert on_image["label_overflows"] > 0
    token = card_of(image.read_bytes(), pack)
    words = ("state erase", "--pack", pack, "--token", f"{token:x}", "--port", "here")
    assert "erased 1 slot" in tinyfin(*words).output
    assert "was not in the state" in tinyfin(*words).output
    tinyfin("state read", "--port", "here", "--out", back)
    assert token.to_bytes(8, "little") not in back.read_bytes()
    tinyfin("state erase", image, "--pack", pack, "--token", f"{token:x}", "--out", tmp_path / "e")
    assert back.read_bytes() == (tmp_path / "e").read_bytes()
    short = tmp_path / "short.state"
    short.write_bytes(image.read_bytes()[:-16])
    assert "another pack" in tinyfin("state write", short, "--port", "here", code=3).output


@needs_cortex_m
def test_on_an_emulated_target(pack: Path, image: Path, tmp_path: Path) -> None:
    """The target takes the state, and gives it back byte for byte; booted again it is cold."""
    tinyfin(f"build {pack} --target cortex-m4")
    words = ("--target", "cortex-m4", "--pack", pack)
    written = tinyfin_json("state write", image, *words)
    assert written["state_digest"] == tinyfin("state digest", image).output.split()[1]
    cold = tmp_path / "cold.state"
    tinyfin("state read", *words, "--out", cold)
    assert cold.read_bytes() == Twin(pack.read_bytes()).export_state(0)
    nameless = tinyfin("state read", "--target", "cortex-m4", "--out", cold, code=2)
    assert "name it with --pack" in nameless.output
    assert "either --port or --target" in tinyfin("state read", "--out", cold, code=2).output
