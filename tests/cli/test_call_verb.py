# SPDX-License-Identifier: Apache-2.0
"""A verb that is called from Python gives what the same words give in a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyfin.cli.call import call_verb
from tinyfin.errors import ConfigError, PackError, ToolError


def test_the_result_is_a_dictionary() -> None:
    (feature,) = call_verb("features amt_log")["features"]
    assert feature["name"] == "amt_log"


def test_words_are_parted_as_a_shell_parts_them(tmp_path: Path) -> None:
    out = tmp_path / "a town.csv"
    config = tmp_path / "tinyfin.toml"
    config.write_text("[simulate]\nterminals = 1\ndays = 2\n")
    assert call_verb(f"simulate --config {config} --out '{out}'")["out"] == str(out)
    assert out.is_file()
    listed = call_verb(["simulate", "--config", str(config), "--out", str(out)])
    assert listed["out"] == str(out)


def test_a_refusal_is_the_error_of_the_verb(tmp_path: Path) -> None:
    config = tmp_path / "tinyfin.toml"
    config.write_text("[model]\nfamly = 'mlp'\n")
    with pytest.raises(ConfigError, match="famly"):
        call_verb(f"simulate --config {config} --out {tmp_path / 'a.csv'}")
    pack = tmp_path / "model.tfpack"
    pack.write_bytes(b"TFPK" + bytes(60))
    with pytest.raises(PackError):
        call_verb(f"inspect {pack}")


def test_a_refusal_that_is_expected_is_returned(tmp_path: Path) -> None:
    refused = call_verb(f"inspect {tmp_path / 'none'}", exit_code=3)
    assert refused["error"]["exit_code"] == 3
    assert "cannot be read" in refused["error"]["message"]


def test_another_end_than_the_expected_one_is_an_error() -> None:
    with pytest.raises(ToolError, match=r"(?s)exit code 2, expected 0.*No such option"):
        call_verb("targets --no-such-option")
    with pytest.raises(ToolError, match="exit code 0, expected 4"):
        call_verb("targets", exit_code=4)
