# SPDX-License-Identifier: Apache-2.0
"""What docs/models.md says of models made elsewhere runs as it stands there.

PyTorch is too large to be installed for this: its block is compiled, and its file is written node
for node as PyTorch 2.14.1 writes it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.quantization.own_models import graphs
from tests.support.cli import tinyfin
from tinyfin.training.reproducible import tensorflow
from tinyfin.training.run_folder import open_run
from tinyfin.twin import Twin

PAGE = Path(__file__).resolve().parents[3] / "docs" / "models.md"
ELSEWHERE = {"mine.keras": "test_own_network.py", "int8.tflite": "test_tflite_file.py"}
"""Files whose line is run by another test."""


def test_the_page_runs(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "town").symlink_to(small["run"])
    (tmp_path / "town.parquet").symlink_to(small["data"])
    monkeypatch.chdir(tmp_path)
    tensorflow(0)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        code = compile(block, str(PAGE), "exec")
        if "import torch" not in block:
            exec(code, names)
    width = names["x"].shape[1]
    assert names["network"].input_shape == (None, width)
    Path("net.onnx").write_bytes(graphs.plain(width).SerializeToString())
    lines = re.findall(r"^    tinyfin (quantize runs/town --model (\S+))$", text, re.MULTILINE)
    files = {file for _, file in lines}
    assert files >= {*ELSEWHERE, "net.onnx", "forest.skops", "booster.ubj", "leaves.txt"}
    for line, file in lines:
        if file in ELSEWHERE:
            continue
        answer = tinyfin(line)
        assert "network against" in answer.output
        made = open_run(Path("runs") / f"town-{Path(file).stem}")
        assert made.read_json("parity.json")["plan"]["differing_bytes"] == 0, file
        own = made.read_json("run.json")["model"]
        assert (own["family"], own["file"]["name"]) == ("own", file)
        scorers = made.read_json("metrics.json")["populations"]["all"]
        assert {"model_float", "model_int8"} <= {*scorers}
        rows = made.slices()
        raw = Twin(made.pack_bytes()).infer(rows["test"])[1]
        assert np.corrcoef(raw, rows["test_float"])[0, 1] > 0.98, file
