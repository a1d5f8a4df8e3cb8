# SPDX-License-Identifier: Apache-2.0
"""The packs of models/ are what the configuration next to them says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyfin import paths
from tinyfin.config import load
from tinyfin.features.compiler import compile_program
from tinyfin.pack.container import parse_pack
from tinyfin.twin import Twin

PACKS = sorted((paths.project_dir() / "models").glob("*/model.tfpack"))


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.parent.name)
def test_a_pack_holds_the_features_of_its_configuration(path: Path) -> None:
    pack = parse_pack(path.read_bytes())
    config = load(path.with_name("tinyfin.toml"))
    program = compile_program(config.features, config.schema, **config.features.capacities)
    assert tuple(pack.meta["features"]) == program.feature_names
    assert Twin(pack.data, terminals=1).input_count == len(program.feature_names)
