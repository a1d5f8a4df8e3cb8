# SPDX-License-Identifier: Apache-2.0
"""The security counter: set by quantize, repack and sign, kept by all, obeyed by the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import tinyfin, tinyfin_json
from tests.support.native import Engine, Refused
from tinyfin.codegen.emit import emit
from tinyfin.pack.container import Pack, parse_pack
from tinyfin.pack.trust import keys_beside
from tinyfin.twin import Twin


def pack_of(run: Path, name: str = "model.tfpack") -> Pack:
    return parse_pack((run / name).read_bytes(), keys=keys_beside(run))


def test_a_terminal_that_has_seen_a_higher_counter_refuses_the_older_pack(
    run_copy: Path, tmp_path: Path
) -> None:
    old = pack_of(run_copy)
    assert old.security_counter == 0
    made = tinyfin_json("sign", run_copy, "--security-counter", 3)
    new = pack_of(run_copy)
    assert (new.security_counter, new.model_id, new.plan, new.decision) == (
        3,
        old.model_id,
        old.plan,
        old.decision,
    )
    assert made["parent"] == new.lineage["parent"] == old.pack_id.hex()
    seen = Twin(new.data).security_counter
    assert seen == 3
    Engine(new.data, counter=seen)
    with pytest.raises(Refused, match="TFIN_E_ROLLBACK"):
        Engine(old.data, counter=seen)
    emit(new.data, tmp_path)
    assert "#define TINYFIN_SECURITY_COUNTER 3u" in (tmp_path / "tinyfin_pack.h").read_text()


def test_a_run_signed_later_is_the_pack_that_quantize_signs(run_copy: Path, tmp_path: Path) -> None:
    """Which road a release took cannot be seen in it."""
    key = tmp_path / "release.key"
    tinyfin("keygen", key)
    tinyfin("sign", run_copy, "--key", key, "--security-counter", 2)
    signed = {path.name: path.read_bytes() for path in run_copy.glob("*.tfpack")}
    assert len(signed) == 3
    assert pack_of(run_copy).verified
    tinyfin("quantize", run_copy, "--key", key)
    assert {path.name: path.read_bytes() for path in run_copy.glob("*.tfpack")} == signed
    assert pack_of(run_copy).security_counter == 2


def test_the_counter_stays_until_it_is_set(run_copy: Path, tmp_path: Path) -> None:
    tinyfin("repack", run_copy, "--threshold", 0.5, "--security-counter", 5)
    assert pack_of(run_copy).security_counter == 5
    decided = pack_of(run_copy).decision
    tinyfin("sign", run_copy, "--security-counter", 6)
    assert pack_of(run_copy).decision == decided, "the counter alone changes no threshold"
    tinyfin("repack", run_copy, "--threshold", 0.4)
    assert pack_of(run_copy).security_counter == 6
    tinyfin("sign", run_copy)
    assert pack_of(run_copy, "model.rows.tfpack").security_counter == 6
    key = tmp_path / "release.key"
    tinyfin("keygen", key)
    tinyfin("quantize", run_copy, "--key", key)
    assert pack_of(run_copy).security_counter == 6, "another key does not set it back"
    assert (
        "needs that key's signature"
        in tinyfin(f"sign {run_copy} --security-counter 7", code=3).output
    )
    tinyfin("sign", run_copy, "--security-counter", 7, "--key", key)
    for name in ("model.tfpack", "model.rows.tfpack"):
        assert pack_of(run_copy, name).verified
        assert pack_of(run_copy, name).security_counter == 7
    tinyfin("quantize", run_copy, "--security-counter", 2, "--key", key)
    assert pack_of(run_copy).security_counter == 2
    assert "4294967295" in tinyfin("sign", run_copy, "--security-counter", 2**32, code=2).output
