# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets build, run and find nothing in a few seconds; `make fuzz` runs them longer."""

from __future__ import annotations

import os
import re
import sys

from tests.engine.corpus import CORPUS
from tests.support.native import BUILD, TEST, Engine
from tests.support.process import call, need

SECONDS = 2


def test_the_corpus_is_of_today() -> None:
    for path in sorted((CORPUS / "pack").iterdir()):
        Engine(path.read_bytes())
    Engine((CORPUS / "pack" / "rich").read_bytes()).take((CORPUS / "state" / "cold").read_bytes())
    size = sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file())
    assert size < 100_000


def test_a_few_seconds_of_fuzzing_find_nothing() -> None:
    need("clang")
    own = {"FUZZ_SEED": "1", "FUZZ_BUILD": str(BUILD / "fuzz"), "PYTHON": sys.executable}
    done = call(TEST / "fuzz.sh", SECONDS, deadline_s=280, env=os.environ | own)
    ran = [int(n) for n in re.findall(r"number_of_executed_units: (\d+)", done.stderr)]
    assert len(ran) == 7
    assert done.stdout.endswith("fuzz_control: found\n"), "a terminal that repeats its work"
    assert min(ran) > 50
