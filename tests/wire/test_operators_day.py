# SPDX-License-Identifier: Apache-2.0
"""From keys to notices by the command line, on an emulated terminal whose flash outlives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import sample
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.process import needs_cortex_m
from tests.wire.test_install import PACKS
from tinyfin.pack.container import parse_pack, sign_with
from tinyfin.pack.signing import load_key

pytestmark = [pytest.mark.live, needs_cortex_m]
ID = "00000000000004d2"


def test_an_operators_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("root", "release", "command", "fleet"):
        tinyfin(f"keygen {kind}.key --kind {kind}")
    release = load_key("release.key")
    Path("run").mkdir()
    Path("run/model.tfpack").write_bytes(sample.make_pack(key=release))
    Path("run/public.key").write_text(release.public.hex())
    Path("new.tfpack").write_bytes(sign_with(parse_pack(PACKS[1]), release))
    where = "--target cortex-m4 --terminal run"
    tinyfin("flash run --target cortex-m4 --release --root-key root.key.pub")

    tinyfin(f"provision {ID} --fleet-key fleet.key {where}")
    make = "keys make --root root.key --release release.key.pub --command command.key.pub"
    tinyfin(f"{make} --version 1 --out a.tfkeys")
    assert tinyfin_json(f"keys install a.tfkeys {where}")["keys_version"] == 1
    how = f"{where} --key command.key"
    assert (
        "signature is not that" in tinyfin(f"command reboot {where} --key root.key", code=5).stderr
    )

    install = f"install new.tfpack {where} --public-key release.key.pub"
    assert "tinyfin command activate PACK" in tinyfin(f"{install} --activate", code=5).stderr
    command = f"{how} --public-key release.key.pub"
    assert tinyfin_json(f"command activate new.tfpack {command}")["phase"] == "trial"
    assert tinyfin_json(f"slots {where}")["running"] == "slot_0"
    assert "eight events" in tinyfin(f"command confirm {command}", code=5).stderr
    assert tinyfin_json(f"command revert {command}")["reason"] == "reverted"
    tinyfin(f"command reboot {how}")
    tinyfin("command raise-floor 1 --broadcast --counter 3 --key command.key --out f.tfcommand")
    refused = tinyfin(f"command send f.tfcommand {where}", code=5)
    assert "does not take this value" in refused.stderr

    Path("n.csv").write_text("id,time,label\n" + "".join(f"{i},5,fraud\n" for i in range(1, 12)))
    make = f"notices make n.csv --terminal {ID} --key command.key --out n.tfnotices"
    tinyfin(f"{make} --first 1")
    # the emulated terminal starts again with each command, and no event has set its clock
    assert "clock has not begun" in tinyfin(f"notices send n.tfnotices {where}", code=5).stderr
    tinyfin(f"{make} --first 4")
    assert (
        "up to 0; these begin with 4" in tinyfin(f"notices send n.tfnotices {where}", code=3).stderr
    )

    tinyfin(f"report read {where} --out a.tfreport")
    tinyfin(f"audit read {where} --out a.tfaudit")
    verify = "audit verify a.tfaudit --fleet-key fleet.key --report a.tfreport"
    assert tinyfin_json(verify)["verdict"] == "VALID"
    records = tinyfin_json("audit show a.tfaudit")["records"]
    kinds = {record["kind"] for record in records}
    assert kinds >= {"restart", "identity", "keys", "slots", "command"}
