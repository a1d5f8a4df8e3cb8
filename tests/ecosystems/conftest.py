# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share: strangers' projects around the engine and the pack of
models/payment, made from nothing with the tools that package registries give."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import kconfiglib
import pytest

from tests.support.cli import tinyfin
from tests.support.process import call
from tinyfin import paths
from tinyfin.schema import PAYMENT
from tinyfin.twin import Twin

PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What codegen writes for the pack, with Monocypher. Read only."""
    folder = tmp_path_factory.mktemp("codegen") / "generated"
    tinyfin(f"codegen {PACK} --out {folder} --with-monocypher")
    return folder


class Score:
    """The line that the examples print for a purchase, computed by the twin."""

    def __init__(self) -> None:
        self.twin = Twin(PACK.read_bytes())

    def line(self, now_s: int, amount_minor: int) -> str:
        values = [amount_minor, *(field.missing for field in PAYMENT.fields[1:])]
        verdict = self.twin.score(0, now_s, now_s, 0, values, 1)
        assert self.twin.outcome(0, now_s, now_s, 0, 0, verdict.action) == 0
        return f"score {verdict.score_q32} action {verdict.action}"


@pytest.fixture
def score() -> Score:
    return Score()


def kconfig(options: Path, out: Path, settings: Path | None = None, **values: str) -> Path:
    """Write the values of Kconfig as CMake reads them, from a file of settings and from ``values``;
    what kconfiglib warns of is an error."""
    os.environ["CONFIG_"] = "CONFIG_"
    config = kconfiglib.Kconfig(str(options), warn_to_stderr=False)
    lines = [settings.read_text()] if settings else []
    lines += [f"{name}={value}\n" for name, value in values.items()]
    merged = out.with_suffix(".conf")
    merged.write_text("".join(lines))
    config.warn_assign_override = False
    config.load_config(str(merged))
    assert config.warnings == []
    rows = []
    for symbol in config.unique_defined_syms:
        value = "" if symbol.str_value == "n" else symbol.str_value
        rows.append(f'set(CONFIG_{symbol.name} "{value}")\n')
    out.write_text("".join(rows))
    return out


def compile_one(build: Path, name: str) -> str:
    """What the compiler says of one source file of a configured build that it must refuse."""
    entries = json.loads((build / "compile_commands.json").read_text())
    [entry] = [entry for entry in entries if Path(entry["file"]).name == name]
    done = call(*shlex.split(entry["command"]), cwd=entry["directory"], code=None)
    assert done.returncode != 0
    return done.stderr
