# SPDX-License-Identifier: Apache-2.0
"""Every label-free family on seeded halves of a plain table, the int8 model scored by the twin.

    python models/adbench/families.py adbench_38_thyroid.parquet --config models/adbench/thyroid.toml

Each half learns from one half of the genuine rows and is tested on the other half and all frauds.
Input maps, family, quantization and pack are those of ``tinyfin train`` and ``tinyfin quantize``;
the family of the configuration is marked, the others stand beside it. ``--prevalence`` gives every
genuine row the weight that makes frauds that share of the whole (for average precision).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinyfin.config import Config, load
from tinyfin.data.transactions import Transactions
from tinyfin.quantize.quantize import quantize
from tinyfin.training.fitting import learn
from tinyfin.training.material import Material, prepare
from tinyfin.training.metrics import average_precision, roc_auc
from tinyfin.training.run import RunFolder
from tinyfin.training.split import Split
from tinyfin.twin import Twin

FAMILIES: dict[str, dict[str, Any]] = {
    "density": {},
    "forest": {},
    "whitening": {},
    "autoencoder": {"hidden": [16, 8], "epochs": 60, "batch_size": 64, "learning_rate": 3e-3,
                    "patience": 10},
}
HELD_BACK = 0.1
"""Share of the rows to learn from that stops the fit and calibrates the pack."""


def half(tx: Transactions, seed: int) -> Split:
    """One seeded half of the genuine rows to learn from, the other with all frauds as the test."""
    genuine = np.random.default_rng(seed).permutation(np.flatnonzero(tx.label == 0))
    learned, rest = np.split(genuine, [len(genuine) // 2])
    cut = round(len(learned) * (1 - HELD_BACK))
    later = np.sort(learned[cut:])
    test = np.sort(np.r_[rest, np.flatnonzero(tx.label == 1)])
    first, last = int(tx.t_mono_s.min()), int(tx.t_mono_s.max()) + 1
    return Split(
        fit=np.sort(learned[:cut]), validation=later, calibration=later, test=test,
        since_s=first, validation_s=first, calibration_s=first, until_s=first, test_until_s=last,
        immature=0, unlabelled=0, warmup=0,
    )  # fmt: skip


def measure(
    material: Material, config: Config, seed: int, prevalence: float | None
) -> dict[str, float]:
    """AUROC and (weighted) average precision of float and int8, and the pack's bytes."""
    tx, split = material.tx, half(material.tx, seed)
    label = tx.label[split.test]
    frauds = np.count_nonzero(label == 1)
    odds = 1.0 if prevalence is None else (1 / prevalence - 1) * frauds / (len(label) - frauds)
    weight = np.where(label == 1, 1.0, odds)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        (run.path / "plots").mkdir(parents=True)
        text = config.path.read_text() if config.path is not None else ""
        (run.path / "config.toml").write_text(text)
        slices = learn(run, material, split, config, baselines=[])
        quantize(run)
        raw = Twin(run.pack_bytes()).infer(slices["test"])[1]
        size = run.pack.stat().st_size
    return {
        "auroc": roc_auc(raw, label), "auroc_float": roc_auc(slices["test_float"], label),
        "ap": average_precision(raw, label, weight),
        "ap_float": average_precision(slices["test_float"], label, weight),
        "pack_bytes": float(size),
    }  # fmt: skip


def main() -> None:
    """Print one line per family; ``--json`` the figures of every half."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--config", required=True)
    parser.add_argument("--halves", type=int, default=5)
    parser.add_argument("--prevalence", type=float)
    parser.add_argument("--family", action="append", choices=[*FAMILIES])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    config = load(asked.config)
    material = prepare(asked.data, config)
    results: dict[str, Any] = {}
    for name in asked.family or FAMILIES:
        chosen = name == config.model.family
        model = config.model if chosen else config.model.model_copy(
            update={"family": name, "options": {}, **FAMILIES[name]}
        )
        rows = [
            measure(
                material,
                replace(config, model=model.model_copy(update={"seed": model.seed + seed})),
                seed, asked.prevalence,
            )
            for seed in range(asked.halves)
        ]  # fmt: skip
        results[name] = {"chosen": chosen, "halves": rows}
        if not asked.json:
            print(_line(name, chosen, rows), flush=True)
    if asked.json:
        print(json.dumps(results, indent=2))


def _line(name: str, chosen: bool, rows: list[dict[str, float]]) -> str:
    found = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    parts = [
        f"{key} {np.mean(found[key]):.4f} +- {np.std(found[key]):.4f} (float "
        f"{np.mean(found[key + '_float']):.4f})"
        for key in ("auroc", "ap")
    ]
    return f"{'*' if chosen else ' '} {name:<12} {'  '.join(parts)}  pack {found['pack_bytes'].max():.0f}"


if __name__ == "__main__":
    main()
