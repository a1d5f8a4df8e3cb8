# SPDX-License-Identifier: Apache-2.0
"""Every TOML file is read as editors save it, and an unreadable one is an error with a line."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinyfin import config
from tinyfin.config.toml import read_toml
from tinyfin.errors import InputError
from tinyfin.evaluation.gates import load_gate
from tinyfin.hil.rigs import rigfile
from tinyfin.hil.runs import suites
from tinyfin.quantization.repack import load_rules
from tinyfin.training.run_folder import new_run

ROOT = Path(__file__).parents[2]
FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "config": (config.load, '[data]\ntime = "H\u00e4ndler"\n'),
    "rules": (load_rules, "[decision]\ngo_online = 0.5 # \u00e4\n"),
    "gate": (load_gate, '[gate]\n"a.b" = {min = 0.5} # \u00e4\n'),
    "suite": (suites.load, "# \u00e4\n" + (ROOT / "hil/suites/parity.toml").read_text("utf-8")),
    "rig": (rigfile.load, "# \u00e4\n" + (ROOT / "hil/rig.emulated.toml").read_text("utf-8")),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_byte_order_mark_changes_nothing(kind: str, tmp_path: Path) -> None:
    load, text = FILES[kind]
    path = tmp_path / "a.toml"
    path.write_bytes(text.encode())
    plain = repr(load(path))
    path.write_bytes(codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode())
    assert repr(load(path)) == plain


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda text: text.encode("cp1252"), "is not UTF-8 (byte 0xE4); save the file as UTF-8"),
        (lambda text: text.encode("utf-16"), "line 1 is not UTF-8"),
        (lambda text: f"a = {'[' * 20_000}".encode(), "nested too deep"),
        (lambda text: f"{'a.' * 100_000}a = 1".encode(), "nested too deep"),
        (lambda text: f"[{'a . ' * 100_000}a]".encode(), "nested too deep"),
        (lambda text: f"a = {{{'b.' * 100_000}b = 1}}".encode(), "nested too deep"),
        (lambda text: f"a = {'1' * 5000}".encode(), "is not TOML"),
        (lambda text: text.encode() + b"\nx = \n", "correct that line"),
        (lambda text: bytes(range(32)), "is not TOML"),
    ],
)
def test_what_is_no_toml_is_named(
    kind: str, spoil: Callable[[str], bytes], told: str, tmp_path: Path
) -> None:
    load, text = FILES[kind]
    path = tmp_path / "a.toml"
    path.write_bytes(spoil(text))
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


def test_dots_in_values_are_no_nesting(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f"a = [{'1.5, ' * 2000}]\nb = '{'.' * 2000} {'c. ' * 50}'\nd.e.f = 1\n")
    found = read_toml(path)
    assert len(found["a"]) == 2000
    assert found["d"] == {"e": {"f": 1}}


def test_a_run_of_a_configuration_with_a_mark_has_one_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(codecs.BOM_UTF8 + b'[data]\ntime = "t"\n')
    run = new_run(tmp_path, "first", config.load(path))
    run.add_model({"family": "density"})
    assert run.config().data.columns["time"].column == "t"
    assert run.config().model.family == "density"
