# SPDX-License-Identifier: Apache-2.0
"""A ``run.json`` for folders that only pass as runs."""

from __future__ import annotations

ROWS = {"rows": 9, "frauds": 2}
DAYS = ("since", "validation_from", "calibration_from", "until", "test_until")
RUN = {
    "name": "payment",
    "data": {
        "files": [],
        "fingerprint": "",
        "known_fingerprint": "",
        "scenarios": [],
        "rows": 36,
        "frauds": 8,
        "terminals": 1,
        "label_delay_s": 604800,
        "notices": "both",
    },
    "config_sha256": "",
    "split": {
        **dict.fromkeys(DAYS, "2024-01-01T00:00:00"),
        "warmup_rows": 0,
        "immature_refused": 0,
        "unlabelled": 0,
        **dict.fromkeys(("fit", "validation", "calibration", "test"), ROWS),
    },
    "features": {
        "names": [],
        "ids": [],
        "reason_ids": [],
        "cuts": {},
        "program_sha256": "",
        "state_bytes": 0,
    },
    "model": {"family": "mlp", "seed": 1, "readout": "accumulator", "weights_sha256": ""},
    "versions": {},
}
