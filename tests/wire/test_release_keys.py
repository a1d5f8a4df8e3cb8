# SPDX-License-Identifier: Apache-2.0
"""From a key file to a release terminal that trusts this key alone."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin import config, simulator
from tinyfin.errors import PackError, ToolError
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.pack.signing import load_key
from tinyfin.pack.trust import keys_beside, load_public_key, require_trusted, trusted_keys
from tinyfin.twin import error_name
from tinyfin.wire.client import Client

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "release"
    made = tinyfin_json(f"keygen {file}")
    assert load_public_key(f"{file}.pub").hex() == made["public_key"]
    return file


@pytest.fixture(scope="module")
def signed(key_file: Path) -> bytes:
    return sample.make_pack(key=load_key(key_file))


def terminal(pack: bytes, keys: tuple[bytes, ...]) -> AbstractContextManager[Client]:
    defines = ("TFIN_RELEASE", "TFIN_RELEASE_REPLAY")
    program = build_host_terminal(pack, keys=keys, cflags=("-O1",), defines=defines)
    return sample.terminal(program, deadline_s=10.0)


def test_a_release_terminal_opens_and_replays(key_file: Path, signed: bytes) -> None:
    keys = trusted_keys(".", [f"{key_file}.pub"])
    with terminal(signed, keys) as client:
        result = sample.replayed(client, signed, limit=200, keys=keys)
    result.check()
    assert result.verdicts == 200


def test_without_its_key_a_release_terminal_refuses_the_pack(signed: bytes) -> None:
    with terminal(signed, ()) as client:
        assert "TFIN_E_KEY" in error_name(client.connect().open_error)


def test_a_release_terminal_is_not_built_with_the_development_key(key_file: Path) -> None:
    """Its engine would refuse the pack at boot (tests/pack/test_refusals.py)."""
    with pytest.raises(ToolError, match="no release opens a pack of the development key"):
        terminal(sample.make_pack(), trusted_keys(".", [f"{key_file}.pub"]))


def test_the_workstation_names_the_option(key_file: Path, signed: bytes) -> None:
    with pytest.raises(PackError, match="--public-key FILE"):
        require_trusted(signed, (), "run")
    with pytest.raises(PackError, match="secret key"):
        require_trusted(signed, (load_public_key(key_file),), "run")
    public = load_public_key(f"{key_file}.pub")
    assert require_trusted(signed, (public,), "run", release=True).verified
    with pytest.raises(PackError, match="development key"):
        require_trusted(sample.make_pack(), (public,), "run", release=True)


def test_verbs_take_the_key_or_the_runs_own(key_file: Path, signed: bytes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.tfpack").write_bytes(signed)
    settings = config.load(None).simulate.model_copy(update={"terminals": 1, "days": 2})
    data = tmp_path / "data.parquet"
    simulator.write(simulator.simulate(settings), data)
    public = f"{key_file}.pub"
    program = build_host_terminal(signed, keys=(load_public_key(public),), cflags=("-O1",))
    out = tmp_path / "generated"
    codegen = f"codegen {run} --out {out}"
    replay = f"replay {run} {data} --port exec:{program} --limit 20"
    others = [f"{verb} {run} --target cortex-m4" for verb in ("build", "flash")]
    for line in (codegen, replay, *others):
        assert "--public-key FILE" in tinyfin(line, code=3).stderr
    for line in (codegen, replay):
        tinyfin(line, "--public-key", public)
    assert "#define TINYFIN_TRUSTED_KEYS 1" in (out / "tinyfin_pack.h").read_text()
    assert keys_beside(run) == ()
    (run / "public.key").write_text(Path(public).read_text())
    assert keys_beside(run / "model.tfpack") == keys_beside(run) != ()
    tinyfin(replay)


def test_an_image_for_a_target_has_the_key(key_file: Path, signed: bytes, tmp_path: Path) -> None:
    """Built by PlatformIO and booted: `flash --release` asks the image which pack it runs."""
    pack = tmp_path / "model.tfpack"
    pack.write_bytes(signed)
    line = f"flash {tmp_path} --target stm32f405 --release --public-key {key_file}.pub"
    assert tinyfin_json(line)["checked"] is True
