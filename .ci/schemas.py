# SPDX-License-Identifier: Apache-2.0
"""Write docs/schemas again: the JSON schemas of the files that tinyfin writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinyfin.documents import Document
from tinyfin.experiments.trial import Experiment, Result
from tinyfin.fleet.backup import Backup
from tinyfin.fleet.drift import FleetDrift
from tinyfin.fleet.hawkbit import Offer
from tinyfin.fleet.lake import Manifest, Settings
from tinyfin.fleet.packs import PackFacts
from tinyfin.fleet_simulator.bank import BankFacts
from tinyfin.fleet_simulator.campaign import FleetSimulation
from tinyfin.hil.reporting.report import ReplayReport
from tinyfin.hil.runs.results import RigResult
from tinyfin.registry.export import RegistryExport
from tinyfin.results.check import DataCheck
from tinyfin.results.evaluation import Evaluation
from tinyfin.results.explanation import Explanation
from tinyfin.results.facts import ResultFile
from tinyfin.results.metrics import Metrics
from tinyfin.results.monitor import Monitoring
from tinyfin.results.parity import Parity
from tinyfin.results.reference import Reference
from tinyfin.results.release import Release
from tinyfin.results.retraining import Retraining
from tinyfin.results.run import MapsFile, RunFacts
from tinyfin.results.trials import Trials
from tinyfin.training.card_odds import CardOdds

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"
KINDS: tuple[type[ResultFile | Document], ...] = (
    RunFacts,
    MapsFile,
    Metrics,
    Parity,
    Evaluation,
    Reference,
    Monitoring,
    DataCheck,
    Explanation,
    Release,
    Retraining,
    Trials,
    ReplayReport,
    RigResult,
    RegistryExport,
    Settings,
    Manifest,
    PackFacts,
    BankFacts,
    FleetSimulation,
    FleetDrift,
    Backup,
    Offer,
    Experiment,
    Result,
    CardOdds,
)


def schema_text(kind: type[ResultFile | Document]) -> str:
    """The JSON schema of a file; of a document, with what it computes from its own facts."""
    schema = kind.model_json_schema(
        mode="serialization" if issubclass(kind, Document) else "validation"
    )
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "SPDX-License-Identifier: Apache-2.0; written by .ci/schemas.py",
    }
    return _text({**head, **_bare(schema)}, "\n") + "\n"


def _text(value: object, line: str) -> str:
    """JSON; what fits on a line is on one. ``line`` begins a line of the value's."""
    text = json.dumps(value)
    if len(line) + len(text) < 90 or not isinstance(value, dict):
        return text
    inner = (f"{line} {json.dumps(key)}: {_text(one, line + ' ')}" for key, one in value.items())
    return "{" + ",".join(inner) + line + "}"


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles and defaults of keys: a title says what the key says, and a key that is
    left out is described in docs/results.md."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            found[key] = {name: _bare(inner) for name, inner in value.items()}
        elif key not in ("title", "default"):
            found[key] = value
    return found


if __name__ == "__main__":
    for kind in KINDS:
        (FOLDER / kind.NAME).write_text(schema_text(kind), encoding="utf-8")
