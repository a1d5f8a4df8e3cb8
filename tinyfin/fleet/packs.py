# SPDX-License-Identifier: Apache-2.0
"""What a lake has to know of a pack to read what terminals say of it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from tinyfin.documents import Document, Facts
from tinyfin.errors import InputError
from tinyfin.fleet import durable
from tinyfin.fleet.lake import Lake
from tinyfin.pack.container import Pack
from tinyfin.registry.contents import opened_in_service
from tinyfin.results.run import RunFacts
from tinyfin.training.run_folder import open_run

__all__ = ["HistogramFacts", "PackFacts", "add_pack", "histogram_names", "known_packs"]

DAY_S = 86_400


class HistogramFacts(Facts):
    """A histogram of the monitor."""

    name: str
    """``score``, or the feature."""
    bins: int


class PackFacts(Document):
    """A file of the folder ``packs``, named by how the id of the pack begins."""

    NAME: ClassVar[str] = "lake_pack.json"
    pack_id: str
    histograms: list[HistogramFacts] = Field(default_factory=list)
    notice_share: float | None = None
    """Notices for each scored transaction, as training had them; None: not known."""
    label_delay_days: float | None = None
    """Within which nine of ten labels became known in training; None: not known."""


def add_pack(lake: Lake, path: Path, public_keys: tuple[Path, ...] = ()) -> PackFacts:
    """Let the lake know a pack; of a run folder also what its training took notices for. Raises
    InputError, PackError."""
    pack = opened_in_service(path, public_keys)
    histograms = [] if pack.drift is None else pack.drift.histograms
    share, delay = _assumed(path)
    facts = PackFacts(
        pack_id=pack.pack_id.hex(),
        histograms=[
            HistogramFacts(name=name, bins=histogram.bins)
            for name, histogram in zip(histogram_names(pack), histograms, strict=bool(histograms))
        ],
        notice_share=share,
        label_delay_days=delay,
    )
    durable.folder(lake.path / "packs")
    durable.write(lake.path / "packs" / f"{facts.pack_id[:16]}.json", facts.text().encode())
    return facts


def histogram_names(pack: Pack) -> tuple[str, ...]:
    """``score``, and the features that DRFT counts."""
    known = pack.meta.get("features", ())
    features = [] if pack.drift is None else [h.feature for h in pack.drift.features]
    return "score", *(str(known[i]) if i < len(known) else f"feature {i}" for i in features)


def _assumed(path: Path) -> tuple[float | None, float | None]:
    """Share and delay in days of the notices that a run was trained with."""
    if not (path / RunFacts.NAME).is_file():
        return None, None
    facts = open_run(path).facts()
    data, split = facts.data, facts.split
    labelled = data.rows - split.unlabelled
    notices = {"both": labelled, "fraud_only": data.frauds, "none": 0}[data.notices]
    delay = split.label_horizon_days or (data.label_delay_s or 0) / DAY_S
    return notices / max(data.rows, 1), delay


def known_packs(lake: Lake) -> dict[str, PackFacts]:
    """By how the id begins, 16 digits. Raises InputError."""
    found = [PackFacts.read(path) for path in durable.entries(lake.path / "packs")]
    for facts in found:
        if len(facts.pack_id) != 32:
            raise InputError(f"{lake.path}/packs: {facts.pack_id} is no pack id; add it again")
    return {facts.pack_id[:16]: facts for facts in found}
