# SPDX-License-Identifier: Apache-2.0
"""Packs written once: what is written today must be made again byte for byte, and every pack that
was ever written must be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pack.conftest import FEATURES, SCHEMA
from tinyfin.features.compiler import compile_program
from tinyfin.pack.container import build_pack, parse_pack
from tinyfin.twin import Twin

FOLDER = Path(__file__).parent / "fixtures"


def test_the_same_bytes_as_ever() -> None:
    program = compile_program(FEATURES, SCHEMA, pending=2)
    data = build_pack(SCHEMA, program, lineage={"data": "none"}, security_counter=3)
    assert data == (FOLDER / "features_named_format1.tfpack").read_bytes()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.tfpack")), ids=lambda path: path.name)
def test_every_pack_ever_written_is_loaded(path: Path) -> None:
    pack = parse_pack(path.read_bytes())
    assert pack.verified
    assert Twin(path.read_bytes()).pack_id == pack.pack_id
