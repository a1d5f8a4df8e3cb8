# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets build, run and find nothing in a few seconds; `make fuzz` runs them longer.

Negative controls: a fault is planted in what each of them tests, and it is found.
"""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.engine.corpus import CORPUS
from tests.support.native import BUILD, TEST, Engine
from tests.support.process import call, need

SECONDS = 2
TARGETS = ["pack", "state", "events", "wire", "slots", "tlv", "iso8583"]


def test_the_corpus_is_of_today() -> None:
    for path in sorted((CORPUS / "pack").iterdir()):
        Engine(path.read_bytes())
    Engine((CORPUS / "pack" / "rich").read_bytes()).take((CORPUS / "state" / "cold").read_bytes())
    size = sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file())
    assert size < 100_000


@pytest.mark.timeout(2500)
def test_a_few_seconds_of_fuzzing_find_nothing() -> None:
    need("clang")
    own = {"FUZZ_SEED": "1", "FUZZ_BUILD": str(BUILD / "fuzz"), "PYTHON": sys.executable}
    done = call(TEST / "fuzz.sh", SECONDS, deadline_s=2400, env=os.environ | own)
    ran = [int(n) for n in re.findall(r"number_of_executed_units: (\d+)", done.stderr)]
    assert len(ran) == len(TARGETS)
    assert min(ran) > 50
    assert re.findall(r"fuzz_control_(\w+): found", done.stdout) == TARGETS
