# SPDX-License-Identifier: Apache-2.0
"""Every label-free family on the same rows, the int8 model scored by the twin.

    python models/families.py thyroid.parquet --config models/adbench/thyroid.toml
    python models/families.py handbook.parquet --config models/handbook/label_free.toml

A plain table is parted into seeded halves: each learns from one half of the genuine rows and is
tested on the other half and all frauds. Anything else is parted by time as ``tinyfin train`` does,
with amount, rate of transactions and amount over its card's mean beside the families, and the share
of each scenario that is caught at 0.1% false alerts. Input maps, family, quantization and pack are
those of ``tinyfin train`` and ``tinyfin quantize``; the family of the configuration is marked, the
others stand beside it. ``--prevalence`` gives every genuine row the weight that makes frauds that
share of the whole (for average precision).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.config import Config, load
from tinyfin.data.transactions import Transactions
from tinyfin.quantize.quantize import quantize
from tinyfin.training.baselines import mean_before, rate
from tinyfin.training.fitting import learn
from tinyfin.training.material import Material, prepare
from tinyfin.training.metrics import average_precision, evaluate, roc_auc
from tinyfin.training.populations import known_cards_removed
from tinyfin.training.run import RunFolder
from tinyfin.training.split import Split, split_by_time
from tinyfin.twin import Twin

FAMILIES: dict[str, dict[str, Any]] = {
    "density": {},
    "forest": {},
    "whitening": {},
    "autoencoder": {"hidden": [16, 8], "epochs": 40, "batch_size": 256, "learning_rate": 1e-2,
                    "patience": 6},
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


def scored(
    material: Material, config: Config, split: Split
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], int]:
    """Raw scores of the pack and float scores of the test rows, and the pack's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        (run.path / "plots").mkdir(parents=True)
        text = config.path.read_text() if config.path is not None else ""
        (run.path / "config.toml").write_text(text)
        slices = learn(run, material, split, config, baselines=[])
        quantize(run)
        raw = Twin(run.pack_bytes()).infer(slices["test"])[1]
        return raw, slices["test_float"], run.pack.stat().st_size


def measure(
    material: Material, config: Config, seed: int, prevalence: float | None
) -> dict[str, float]:
    """AUROC and (weighted) average precision of float and int8, and the pack's bytes."""
    split = half(material.tx, seed)
    label = material.tx.label[split.test]
    frauds = np.count_nonzero(label == 1)
    odds = 1.0 if prevalence is None else (1 / prevalence - 1) * frauds / (len(label) - frauds)
    weight = np.where(label == 1, 1.0, odds)
    raw, float_score, size = scored(material, config, split)
    return {
        "auroc": roc_auc(raw, label), "auroc_float": roc_auc(float_score, label),
        "ap": average_precision(raw, label, weight),
        "ap_float": average_precision(float_score, label, weight),
        "pack_bytes": float(size),
    }  # fmt: skip


def stream(material: Material, config: Config, families: list[str]) -> None:
    """Print average precision on the transactions after ``until``: all of them, and without the
    cards of which a fraud was known."""
    tx = material.tx
    split = split_by_time(
        tx, since_s=config.train.since, until_s=config.train.until,
        test_until_s=config.train.test_until,
        shares=(config.train.train, config.train.validation, config.train.test), supervised=False,
    )
    amount = tx.column("amount_minor").astype(np.float64)
    baselines = {"amount": amount[split.test], "rate": rate(tx)[split.test]}
    if "token" in tx.schema.names and np.any(tx.has("token")):
        card = np.unique(tx.column("token"), return_inverse=True)[1]
        mean = np.maximum(mean_before(card, amount, tx.t_mono_s), 1.0)
        baselines["amount / card mean"] = (amount / mean)[split.test]
    stay = known_cards_removed(tx, split.test, split.until_s)
    label = tx.label[split.test]

    def told(name: str, score: npt.NDArray[Any], more: str = "") -> None:
        figures = [f"{name:<20} AP all {average_precision(score, label):.3f}"]
        if stay is not None:
            figures.append(f"known cards removed {average_precision(score[stay], label[stay]):.3f}")
        print("  ".join(figures) + more, flush=True)
        caught = evaluate(
            score, label, scenario=tx.scenario_code[split.test], scenario_names=tx.scenario or ()
        )["scenario_recall_at_0.1%"]
        for scenario, found in caught.items():
            print(f"    {scenario:<20} {found['recall']:.2f} of {found['frauds']}", flush=True)

    print(f"{len(label)} test rows, {int(np.sum(label == 1))} frauds; fit on {len(split.fit)} rows")
    for name, score in baselines.items():
        told(name, score)
    for name in families:
        raw, float_score, size = scored(material, chosen_model(config, name, 0), split)
        low = average_precision(float_score, label)
        told(name, raw, f"  (float, all {low:.3f})  pack {size}")


def chosen_model(config: Config, name: str, seed: int) -> Config:
    """The configuration's own model if it is of this family, else that family's defaults here."""
    model = config.model
    if name != model.family:
        model = model.model_copy(update={"family": name, "options": {}, **FAMILIES[name]})
    return replace(config, model=model.model_copy(update={"seed": model.seed + seed}))


def main() -> None:
    """Print one line per family; ``--json``: the figures of every half."""
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
    if not config.data.plain:
        stream(material, config, asked.family or [*FAMILIES])
        return
    results: dict[str, Any] = {}
    for name in asked.family or FAMILIES:
        chosen = name == config.model.family
        rows = [
            measure(material, chosen_model(config, name, seed), seed, asked.prevalence)
            for seed in range(asked.halves)
        ]
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
    mark, size = "*" if chosen else " ", found["pack_bytes"].max()
    return f"{mark} {name:<12} {'  '.join(parts)}  pack {size:.0f}"


if __name__ == "__main__":
    main()
