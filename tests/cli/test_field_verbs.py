# SPDX-License-Identifier: Apache-2.0
"""Keys, commands and notices from the command line; the terminal is a model of it."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import field_oracle as oracle
from tests.support import sample
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.modelled_terminal import Modelled
from tinyfin.field.commands import Opcode, parse_command
from tinyfin.pack.container import parse_pack
from tinyfin.pack.signing import DEVELOPMENT_KEY, load_key
from tinyfin.wire.messages import Request

ID = "0102030405060708"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a key of each kind, a second command key, and a pack, to work in."""
    monkeypatch.chdir(tmp_path)
    for kind in ("release", "root", "command", "fleet"):
        tinyfin(f"keygen {kind}.key --kind {kind}")
    tinyfin("keygen second.key --kind command")
    Path("new.tfpack").write_bytes(sample.make_pack(2))
    return tmp_path


@pytest.fixture
def terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Modelled:
    """A terminal at the port `modelled`, with this root key."""
    root = load_key("root.key", "root").public
    pack = parse_pack(Path("new.tfpack").read_bytes()).pack_id
    model = Modelled(oracle.Terminal(root, other=pack, running_counter=3))

    @contextlib.contextmanager
    def at_port(port: str, *, baud: int = 115200) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(client=model)

    monkeypatch.setattr("tinyfin.hil.links.session.at_port", at_port)
    return model


MAKE_KEYS = "keys make --root root.key --release release.key.pub --version 2 --out a.tfkeys"


def provisioned(terminal: Modelled) -> None:
    tinyfin(f"provision {ID} --fleet-key fleet.key --port modelled")


def test_keys_of_each_kind(folder: Path) -> None:
    for kind in ("release", "root", "command", "fleet"):
        assert stat.S_IMODE((folder / f"{kind}.key").stat().st_mode) == 0o600
        assert (folder / f"{kind}.key.pub").exists() == (kind != "fleet")
        assert "exists already" in tinyfin(f"keygen {kind}.key --kind {kind}", code=3).stderr
    for line, said in (
        (MAKE_KEYS + " --command release.key.pub", "a public command key is wanted here"),
        (MAKE_KEYS + " --command command.key", "give its public half, the .pub next to it"),
        (MAKE_KEYS.replace("root.key", "command.key") + " --command command.key.pub", "a root key"),
        (f"provision {ID} --fleet-key root.key --port x", "a fleet key is wanted here"),
        ("command reboot --port x --key release.key", "a command key is wanted here"),
        ("sign new.tfpack --key command.key", "a release key is wanted here"),
        ("seal new.tfpack --seal-key fleet.key --out x", "a seal key is wanted here"),
        ("codegen new.tfpack --out c --root-key release.key.pub", "a public root key is wanted"),
        ("codegen new.tfpack --out c --public-key root.key.pub", "a public release key is wanted"),
        ("build new.tfpack --target cortex-m4 --root-key root.key", "give its public half"),
    ):
        assert said in tinyfin(line, code=3).stderr, line


def test_a_terminal_gets_its_id_and_its_keys(terminal: Modelled) -> None:
    assert "has its secrets" in tinyfin(f"provision {ID} --fleet-key fleet.key --port m").stdout
    provisioned(terminal)
    wrong = tinyfin("provision 0000000000000001 --fleet-key fleet.key --port m", code=5)
    assert f"it is terminal {ID} already" in wrong.stderr
    assert "16 hexadecimal digits" in tinyfin("provision 1 --fleet-key fleet.key", code=3).stderr
    tinyfin(f"{MAKE_KEYS} --command command.key.pub --command second.key.pub")
    facts = tinyfin_json("keys show a.tfkeys --root-key root.key.pub")
    assert (facts["version"], facts["checked"], len(facts["command"])) == (2, True, 2)
    assert "was not checked" in tinyfin("keys show a.tfkeys").stdout
    tinyfin("keygen other.key --kind root")
    other = tinyfin("keys show a.tfkeys --root-key other.key.pub", code=3)
    assert "a.tfkeys: its signature is not the root key's" in other.stderr
    assert tinyfin_json("keys install a.tfkeys --port m")["keys_version"] == 2
    older = MAKE_KEYS.replace("2", "1").replace("a.tfkeys", "b.tfkeys")
    tinyfin(f"{older} --command second.key.pub")
    assert "newer key manifest" in tinyfin("keys install b.tfkeys --port m", code=5).stderr


def test_commands_to_one_terminal(terminal: Modelled) -> None:
    provisioned(terminal)
    t = terminal.terminal
    assert "signature is not that" in tinyfin("command reboot --port m", code=5).stderr
    tinyfin("command reboot --port m --key root.key")
    tinyfin(f"{MAKE_KEYS} --command command.key.pub --command second.key.pub")
    tinyfin("keys install a.tfkeys --port m")
    assert "give the manifest" in tinyfin("command reboot --port m --key second.key", code=5).stderr
    tinyfin("command reboot --port m --key second.key --keys a.tfkeys")
    how = "--port m --key command.key"
    t.phase = oracle.STAGED
    done = tinyfin(f"command activate new.tfpack {how}")
    assert "tinyfin command reboot" in done.stderr
    assert "in trial" in done.stdout
    t.alive = True
    tinyfin(f"command confirm {how}")
    tinyfin(f"command raise-floor 3 {how}")
    tinyfin(f"command erase-card ff {how}")
    tinyfin(f"command set-time 86400 {how}")
    tinyfin(f"command set-time 2000-01-03T00:00:00 {how}")
    tinyfin(f"command set-time now {how}")
    tinyfin(f"command stage {t.other.hex()} {how}")
    tinyfin(f"command erase-state {how}")
    names = [Opcode(opcode).words for opcode, _, _ in t.obeyed]
    assert names == [
        *("reboot", "reboot", "activate", "confirm", "raise-floor", "erase-card"),
        *("set-time", "set-time", "set-time", "stage", "erase-state"),
    ]
    assert [value for *_, value in t.obeyed][5:8] == [255, 86400, 2 * 86400]
    assert t.obeyed[2][1] == t.obeyed[3][1] == t.other
    assert "ISO 8601" in tinyfin(f"command set-time noon {how}", code=3).stderr
    assert "does not take this value" in tinyfin(f"command raise-floor 4 {how}", code=5).stderr
    tinyfin("command reboot", code=2)
    tinyfin(f"command abort new.tfpack --counter 1 {how}", code=2)


def test_a_pack_that_does_not_run_is_named(terminal: Modelled) -> None:
    provisioned(terminal)
    terminal.terminal.phase = oracle.TRIAL
    terminal.hello.pack_id = "00" * 16
    line = "command revert --port m --key root.key"
    assert "`tinyfin command revert PACK`" in tinyfin(line, code=5).stderr
    tinyfin(line.replace("revert", "revert new.tfpack"))


def test_commands_to_all_terminals(terminal: Modelled) -> None:
    line = "command raise-floor 2 --broadcast --counter 7 --key root.key --out a.tfcommand"
    assert tinyfin_json(line)["counter"] == 7
    made = parse_command(Path("a.tfcommand").read_bytes())
    assert (made.opcode, made.value, made.is_broadcast) == (Opcode.RAISE_FLOOR, 2, True)
    for _ in range(2):
        assert tinyfin_json("command send a.tfcommand --port m")["floor"] == 2
    assert len(terminal.terminal.obeyed) == 1
    tinyfin(line.replace("7", "6"))
    assert "higher" in tinyfin("command send a.tfcommand --port m", code=5).stderr
    line = "command abort new.tfpack --broadcast --counter 8 --key root.key --out b.tfcommand"
    assert tinyfin_json(line)["pack"] == terminal.terminal.other.hex()
    tinyfin(line.replace("--counter 8", ""), code=2)
    tinyfin(f"{line} --port m", code=2)
    tinyfin("command reboot --broadcast --counter 8 --out b.tfcommand", code=2)
    Path("c.tfcommand").write_bytes(bytes(128))
    bad = tinyfin("command send c.tfcommand --port m", code=3)
    assert "c.tfcommand: is no command" in bad.stderr


def test_a_rig_needs_no_key(terminal: Modelled) -> None:
    terminal.terminal.root = DEVELOPMENT_KEY.public
    provisioned(terminal)
    tinyfin("command reboot --port m")
    Path("n.csv").write_text("id,time,label\n1,2,fraud\n")
    tinyfin(f"notices make n.csv --terminal {ID} --first 1 --out n.tfnotices")
    tinyfin("notices send n.tfnotices --port m")
    tinyfin(
        "keys make --release release.key.pub --command command.key.pub --version 1 --out k.tfkeys"
    )
    tinyfin("keys install k.tfkeys --port m")
    assert "signature is not that" in tinyfin("command reboot --port m", code=5).stderr


def test_notices(terminal: Modelled) -> None:
    provisioned(terminal)
    rows = [f"{i},{1000 + i},{'fraud' if i % 3 else 'cleared'},{i}" for i in range(1, 20)]
    Path("n.csv").write_text("\n".join(["id,time,label,token", *rows]) + "\n")
    make = f"notices make n.csv --terminal {ID} --key root.key --out n.tfnotices"
    facts = tinyfin_json(f"{make} --first 1")
    assert (facts["notices"], facts["fraud"], facts["last"]) == (19, 13, 3)
    shown = tinyfin("notices show n.tfnotices").stdout
    assert "3     19  1019  fraud    0000000000000013" in shown
    assert len(tinyfin_json("notices show n.tfnotices")["pages"]) == 3
    terminal.lost.append(Request.NOTICES)
    sent = tinyfin_json("notices send n.tfnotices --port m")
    assert (sent["notices_before"], sent["notices"]) == (0, 3)
    assert [x[0] for x in terminal.terminal.noticed] == list(range(1, 20))
    again = tinyfin("notices send n.tfnotices --port m")
    assert "nothing was sent" in again.stderr
    tinyfin(f"{make} --first 5")
    gap = tinyfin("notices send n.tfnotices --port m", code=3)
    assert "up to 3; these begin with 5" in gap.stderr
    terminal.terminal = replace(terminal.terminal, id=bytes(8))
    assert "has no id" in tinyfin("notices send n.tfnotices --port m", code=3).stderr
    Path("n.csv").write_text("id,time,label\n1,2,perhaps\n")
    assert "row 1 (line 2), column label" in tinyfin(f"{make} --first 1", code=3).stderr
