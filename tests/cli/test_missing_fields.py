# SPDX-License-Identifier: Apache-2.0
"""Files that lack what a model reads are named before anybody believes the answers."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.cli import filled, tinyfin
from tests.support.process import need
from tinyfin.config import from_table
from tinyfin.data.readers import read
from tinyfin.data.seen import Seen
from tinyfin.features.check_program import names_read
from tinyfin.features.compiler import compile_program
from tinyfin.features.graph import walk
from tinyfin.features.selection import select
from tinyfin.pack.container import parse_pack
from tinyfin.schema import PAYMENT

LOST = ("entry_mode", "mcc")


@pytest.fixture(scope="module")
def narrow(small: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The transactions without two columns that the model reads."""
    table = pq.read_table(small["data"])
    path = tmp_path_factory.mktemp("narrow") / "narrow.parquet"
    pq.write_table(table.drop_columns(list(LOST)), path)
    return path


@pytest.mark.parametrize(
    "words",
    [
        "score RUN DATA --out OUT/s.csv",
        "compare RUN RUN DATA",
        "evaluate RUN DATA --weeks 1 --seeds 1",
        "replay RUN DATA --target host --limit 5",
        "replay RUN/model.tfpack DATA --target host --limit 5",
    ],
)
def test_missing_fields_are_named(
    small: dict[str, Path], run_copy: Path, narrow: Path, tmp_path: Path, words: str
) -> None:
    need("cc") if "host" in words else None
    for data, missing in ((narrow, True), (small["data"], False)):
        line = filled(words, DATA=data, RUN=run_copy, OUT=tmp_path)
        answer = tinyfin(line, "--json")
        facts = json.loads(answer.stdout)["fields"]
        found = facts.get("a", facts)["missing"]
        assert set(found) == (set(read_by(small["run"])) & set(LOST) if missing else set())
        assert ("WARNING: no row has entry_mode" in answer.stderr) == missing, answer.stderr


def read_by(run: Path) -> set[str]:
    program = parse_pack((run / "model.tfpack").read_bytes()).program
    return names_read(program, PAYMENT.names)


def test_what_a_program_reads_is_what_its_expressions_name(small: dict[str, Path]) -> None:
    config = from_table({"features": {"names": "default"}})
    wanted = {x.field for f in select(config.features) for x in walk(f.expression)} - {None}
    found = names_read(compile_program(config.features, PAYMENT).payload, PAYMENT.names)
    assert found - {"token", "response"} == wanted - {"token"}
    for what in ("result", "action"):
        section = {"names": ["own"], "own": {"expression": f"run('card', outcome('{what}') == 1)"}}
        program = compile_program(from_table({"features": section}).features, PAYMENT)
        assert names_read(program.payload, PAYMENT.names) == (
            {"token", "response"} if what == "result" else {"token"}
        )


def test_what_training_lacked_is_not_missed(run_copy: Path, narrow: Path, tmp_path: Path) -> None:
    facts = json.loads((run_copy / "run.json").read_text())
    facts["data"]["fields"] = [x for x in facts["data"]["fields"] if x not in LOST]
    (run_copy / "run.json").write_text(json.dumps(facts))
    words = ["score", str(run_copy), str(narrow), "--out", str(tmp_path / "s.csv")]
    answer = tinyfin(*words)
    assert "no row has" not in answer.stderr


def test_a_star_that_takes_every_value_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    how = {"column": "m", "values": {"05": "chip", "07": "contactless_chip", "*": "stripe"}}
    data = {"time": "t", "entry_mode": how}
    for cell, alone in (("5", True), ("05", False)):
        path.write_text(f"t,m\n2024-01-01T10:00:00,\n2024-01-02T10:00:00,7\n2024-01-03,{cell}\n")
        config = from_table({"data": data})
        notes: list[str] = []
        tx = read(path, config, progress=notes.append)
        assert Seen.of(tx, config).only_other == (["entry_mode"] if alone else [])
        assert any('every value of entry_mode is "*" = stripe' in x for x in notes) == alone
