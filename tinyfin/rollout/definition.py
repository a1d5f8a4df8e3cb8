# SPDX-License-Identifier: Apache-2.0
"""What a campaign is made of: the pack, its parent, the policy, the terminals."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from tinyfin.documents import Facts
from tinyfin.errors import InputError
from tinyfin.fleet.inventory import Terminal
from tinyfin.fleet.secrets import LakeKey
from tinyfin.hil.replay.playback import pack_ids
from tinyfin.pack.container import Pack
from tinyfin.pack.drift import DriftSection
from tinyfin.pack.trust import require_trusted, trusted_keys
from tinyfin.results.facts import IncompleteError
from tinyfin.results.release import Release
from tinyfin.rollout.gates import Promise
from tinyfin.rollout.policy import Policy
from tinyfin.targets.flash import run_pack
from tinyfin.training.run_folder import RunFolder

__all__ = ["Definition", "Member", "define", "digest_of", "mark_of", "members_of"]

_SHARE = 0.01
"""By which equal shares of bins may differ: scores come in steps."""
_UNCHANGED_Q8 = 512
"""Factor of the alerts in PROB: twice the promised ratio, but not below this."""


class Member(NamedTuple):
    """A terminal of a campaign."""

    terminal: str
    """Id, 16 hexadecimal digits; empty after it was erased."""
    stratum: str
    mark: str
    """Its tombstone under the lake's key (:meth:`LakeKey.tombstone`), which does not say the id."""


class Definition(Facts):
    """A campaign; what is approved is :attr:`digest`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    pack: str
    """Pack id."""
    layouts: list[str]
    """Pack ids of the same pack in all layouts that there are."""
    parent: str
    parent_layouts: list[str]
    policy: Policy
    promise: Promise
    score_bins: int = 0
    """Of the pack's DRFT; 0: it has none."""
    parent_score_bins: int = 0
    terminals: str
    """SHA-256 over the lines "mark,stratum" of its members."""

    @property
    def digest(self) -> str:
        """SHA-256 of the whole."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def campaign(self) -> bytes:
        """Its id: the order of its members follows from it. Of the same name, pack and inventory
        it is the same, so that nobody makes campaigns until a wished-for terminal is last."""
        text = f"{self.name}\n{self.pack}\n{self.terminals}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


def members_of(key: LakeKey, terminals: Sequence[Terminal]) -> list[Member]:
    """The members of a campaign on a lake with this key."""
    return [Member(*one, mark_of(key, one.terminal)) for one in terminals]


def mark_of(key: LakeKey, terminal: str) -> str:
    """The mark of a terminal id."""
    return key.tombstone(key.terminal(bytes.fromhex(terminal)))


def digest_of(members: Sequence[Member]) -> str:
    """Of members, as a definition names it."""
    lines = "".join(f"{one.mark},{one.stratum}\n" for one in members)
    return hashlib.sha256(lines.encode()).hexdigest()


def define(
    name: str,
    pack: Path,
    parent: Path,
    policy: Policy,
    members: Sequence[Member],
    *,
    public_keys: tuple[Path, ...] = (),
    alerts_ratio: float | None = None,
) -> Definition:
    """The definition of a campaign in which ``pack`` replaces ``parent`` (runs, or pack files).
    ``alerts_ratio``: the promised one, where packs do not say it. Raises InputError, PackError for
    gates that these packs have no values for."""
    if alerts_ratio is not None and not 0 < alerts_ratio < math.inf:
        raise InputError(f"--alerts-ratio {alerts_ratio}: give a number above 0")
    found, before = (_opened(path, public_keys) for path in (pack, parent))
    if found.pack_id == before.pack_id:
        raise InputError(f"{parent}: is the pack itself; name the one that terminals run now")
    without = set(policy.gates.without)
    probation = found.probation
    if probation is None and not {"paired", "alerts"} <= without:
        raise InputError(
            f"{pack}: has no bounds of a probation, so there is no shadow; make it with `tinyfin "
            'release`, or name "paired" and "alerts" in `without` of the policy'
        )
    if probation is not None and probation.parent != before.model_id:
        raise InputError(f"{pack}: was released to replace another pack than {parent}")
    if found.drift is None and "self_difference" not in without:
        raise InputError(
            f"{pack}: counts no scores (DRFT); make it with `tinyfin release`, or name "
            '"self_difference" in `without` of the policy'
        )
    if policy.limits.revert and before.security_counter < found.security_counter:
        raise InputError(
            f"{parent}: its security counter {before.security_counter} is below that of the pack, "
            f"{found.security_counter}: who has confirmed the pack cannot go back to it. Sign the "
            "parent again with `tinyfin sign --security-counter`, or set revert = false"
        )
    promise = Promise(scores_comparable=_comparable(found.drift, before.drift))
    if probation is not None:
        look = probation.looks[-1]
        promise = Promise(
            look.far / look.events,
            look.differ / look.events,
            look.psi_q10 / 1024,
            alerts_ratio or _alerts_ratio(found, before, pack, "alerts" in without),
            promise.scores_comparable,
        )
    ids, parents = pack_ids(pack, public_keys), pack_ids(parent, public_keys)
    return Definition(
        name=name,
        pack=found.pack_id.hex(),
        layouts=sorted({found.pack_id.hex(), *ids}),
        parent=before.pack_id.hex(),
        parent_layouts=sorted({before.pack_id.hex(), *parents}),
        policy=policy,
        promise=promise,
        score_bins=found.drift.score.bins if found.drift else 0,
        parent_score_bins=before.drift.score.bins if before.drift else 0,
        terminals=digest_of(members),
    )


def _opened(path: Path, public_keys: tuple[Path, ...]) -> Pack:
    file = run_pack(path)
    return require_trusted(file.read_bytes(), trusted_keys(path, public_keys), file)


def _alerts_ratio(pack: Pack, parent: Pack, where: Path, unused: bool) -> float:
    """Alerts for one of the parent: by release.json, of the same events in PROB, else by the
    targets of LEVL."""
    assert pack.probation is not None
    folder = RunFolder(run_pack(where).parent)
    if (folder.path / Release.NAME).is_file():
        with contextlib.suppress(IncompleteError):  # of an older tinyfin
            said = folder.read(Release)
            own = said.candidate.pack_id == pack.pack_id.hex()
            if own and said.probation is not None and said.probation.alerts_ratio:
                return said.probation.alerts_ratio
    if pack.probation.alerts_factor_q8 > _UNCHANGED_Q8:
        return pack.probation.alerts_factor_q8 / _UNCHANGED_Q8
    if pack.levels is not None and parent.levels is not None:
        return min(pack.levels.target_q24 / parent.levels.target_q24, 1.0)
    if unused:
        return 1.0
    raise InputError(
        f"{where}: neither pack says how many alerts it gives for one of the parent (LEVL of both "
        "would); give --alerts-ratio: 1 for as many, 0.5 for half as many"
    )


def _comparable(one: DriftSection | None, other: DriftSection | None) -> bool:
    if one is None or other is None or one.score.bins != other.score.bins:
        return False
    return bool(abs(one.score.shares - other.score.shares).max() <= _SHARE)
