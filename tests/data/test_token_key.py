# SPDX-License-Identifier: Apache-2.0
"""Tokens by a secret key of the user's, which stays where it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import tinyfin
from tinyfin.config import from_table, load
from tinyfin.data.readers import read
from tinyfin.data.tokens import DEVELOPMENT_KEY
from tinyfin.errors import ConfigError
from tinyfin.training.run_folder import new_run

Write = Callable[..., Path]
SECRET = bytes(range(32))


def token(word: str, key: bytes) -> int:
    """BLAKE2b (RFC 7693) as Python has it."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8, key=key).digest(), "little")


def test_tokens_are_made_with_the_key_of_the_file(csv: Write, tmp_path: Path) -> None:
    path, file = csv("time,card", "1514808000,c1", "1514808001,c2"), tmp_path / "token.key"
    file.write_text(SECRET.hex() + "\n")
    for data, key in (({}, DEVELOPMENT_KEY), ({"token_key_file": str(file)}, SECRET)):
        config = from_table({"data": {"time": "time", "token": "card", **data}})
        assert read(path, config).column("token").tolist() == [token("c1", key), token("c2", key)]


def test_tokens_that_are_ready_need_no_key(csv: Write) -> None:
    config = from_table(
        {
            "data": {
                "time": "time",
                "token": {"column": "card", "unit": "token"},
                "token_key_file": "nowhere",
            }
        }
    )
    assert read(csv("time,card", "1514808000,5"), config).column("token")[0] == 5


@pytest.mark.parametrize("content", ["", "phrase" * 9, "00" * 15, "00" * 65, "\u00e4" * 40])
def test_what_is_no_key_is_refused_and_not_shown(csv: Write, tmp_path: Path, content: str) -> None:
    (tmp_path / "token.key").write_text(content, encoding="utf-8")
    table = {"time": "time", "token": "card", "token_key_file": str(tmp_path / "token.key")}
    with pytest.raises(ConfigError, match=r"token\.key: .*32 to 128 hexadecimal digits") as caught:
        read(csv("time,card", "1514808000,c1"), from_table({"data": table}))
    assert not content or content[:6] not in str(caught.value)
    table["token_key_file"] = str(tmp_path / "none.key")
    with pytest.raises(ConfigError, match=r"none\.key: .*token_key_file"):
        read(csv("time,card", "1514808000,c1"), from_table({"data": table}))


def test_a_run_holds_no_key(csv: Write, tmp_path: Path) -> None:
    (tmp_path / "token.key").write_text(SECRET.hex())
    (tmp_path / "c.toml").write_text(
        f'[data]\ntime = "time"\ntoken = "card"\ntoken_key_file = "{tmp_path}/token.key"\n'
    )
    run = new_run(tmp_path / "runs", "keyed", load(tmp_path / "c.toml"))
    assert "token.key" in (run.path / "config.toml").read_text()
    words = [
        "features",
        str(csv("time,card", "1514808000,c1")),
        "--config",
        str(tmp_path / "c.toml"),
        "--out",
        str(tmp_path / "runs" / "f.csv"),
    ]
    tinyfin(*words)
    for file in (tmp_path / "runs").rglob("*"):
        if file.is_file():
            content = file.read_bytes().lower()
            assert SECRET not in content
            assert SECRET.hex().encode() not in content


@pytest.mark.parametrize("verb", ["train", "features"])
def test_help_says_what_a_public_key_means(verb: str) -> None:
    text = " ".join(tinyfin(verb, "--help").output.split())
    assert "whoever knows a card number can compute its token" in text
    assert "token_key_file" in text
