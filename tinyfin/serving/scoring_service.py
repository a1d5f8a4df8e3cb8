# SPDX-License-Identifier: Apache-2.0
"""``tinyfin serve``: the verdicts of a run's pack over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack, cast

from prometheus_client import Counter, Gauge

from tinyfin.data.transactions import ACTIONS, RESULTS
from tinyfin.errors import InputError
from tinyfin.features.catalogue.reasons import own_texts
from tinyfin.pack.container import parse_pack
from tinyfin.schema import Schema
from tinyfin.serving.answers import Result, ScoredTransaction, result, verdicts
from tinyfin.serving.bodies import Notice, Outcome, RefusedError, seconds, transaction_model
from tinyfin.serving.journal import Journal
from tinyfin.serving.service import Operation, Options, Service
from tinyfin.serving.terminal_events import (
    Score,
    TerminalEvent,
    TerminalNotice,
    TerminalOutcome,
    as_int64,
    packed,
    unpacked,
)
from tinyfin.serving.terminals import Terminals
from tinyfin.twin import Verdict

__all__ = ["ScoringService"]

_STEP = 16
"""Terminals that are saved before requests are answered again."""


class ScoringService(Service):
    """One pack, and the states of up to ``terminals`` terminals."""

    title = "tinyfin serve"
    snapshot_name = "terminals.tfstate"

    def __init__(
        self,
        pack_bytes: bytes,
        schema: Schema,
        *,
        terminals: int,
        keys: Sequence[bytes] = (),
        **options: Unpack[Options],
    ) -> None:
        """Raises PackError, and InputError for a state that is not this pack's."""
        pack = parse_pack(pack_bytes, keys=keys)
        program_id = hashlib.blake2b(
            pack.sections["SCHM"] + pack.state_layout, digest_size=16
        ).digest()
        self.schema, self._reasons = schema, own_texts(pack.meta)
        self._identity = {"pack_id": pack.pack_id.hex(), "model_id": pack.model_id.hex()}
        self.terminals = Terminals(pack.data, program_id, limit=terminals, keys=keys)
        self._missing = [as_int64(spec.missing) for spec in schema.fields]
        super().__init__(program_id, **options)
        self._actions = Counter(
            "tinyfin_transactions", "Verdicts, by action.", ("action",), registry=self.registry
        )
        Gauge("tinyfin_terminals", "Terminals with a state.", registry=self.registry).set_function(
            lambda: len(self.terminals)
        )

    def operations(self) -> Sequence[Operation]:
        scored, results = (ScoredTransaction, "verdict", "verdicts"), (Result, "result", "results")
        transaction = transaction_model(self.schema)
        return (
            Operation("/score", self.score, transaction, "transactions", *scored),
            Operation("/outcomes", self.outcomes, Outcome, "outcomes", *results),
            Operation("/notices", self.notices, Notice, "notices", *results),
        )

    def identity(self) -> dict[str, str]:
        return self._identity

    def facts(self) -> dict[str, object]:
        return {"terminals": len(self.terminals), "terminal_limit": self.terminals.limit}

    async def score(self, items: Sequence[Any]) -> list[str]:
        """Score transactions; each waits for its outcome then."""
        token = next((spec.name for spec in self.schema.fields if spec.unit == "token"), None)
        own = [getattr(item, token) for item in items] if token else []
        mono = seconds([item.time for item in items], "transactions", "time")[0].tolist()
        walls = [item.time if item.local_time is None else item.local_time for item in items]
        local = seconds(walls, "transactions", "local_time")[1].tolist()
        events = [self._event(*facts) for facts in zip(items, mono, local, strict=True)]
        answers = cast(list[Verdict], await self._done(events, own))
        for answer in answers:
            self._actions.labels(ACTIONS[answer.action]).inc()
        return verdicts([item.terminal for item in items], answers, self._reasons)

    async def outcomes(self, items: Sequence[Outcome]) -> list[str]:
        """Report what became of transactions: only then they count."""
        times = seconds([item.time for item in items], "outcomes", "time")[0]
        return await self._results(
            [
                TerminalOutcome(
                    item.terminal,
                    item.id,
                    t_s,
                    RESULTS.index(item.result),
                    item.response,
                    ACTIONS.index(item.action),
                )
                for item, t_s in zip(items, times.tolist(), strict=True)
            ]
        )

    async def notices(self, items: Sequence[Notice]) -> list[str]:
        """Report what became known later: fraud, or genuine."""
        times = seconds([item.time for item in items], "notices", "time")[0].tolist()
        then = seconds([item.transaction_time for item in items], "notices", "transaction_time")[0]
        return await self._results(
            [
                TerminalNotice(item.terminal, item.id, t_s, t_tx_s, item.token or 0, item.fraud)
                for item, t_s, t_tx_s in zip(items, times, then.tolist(), strict=True)
            ],
            [item.token for item in items],
        )

    def _event(self, item: Any, t_s: int, t_local_s: int) -> Score:
        values, present = list(self._missing), 0
        for i, spec in enumerate(self.schema.fields):
            if (value := getattr(item, spec.name)) is not None:
                present |= 1 << i
                values[i] = as_int64(spec.values.index(value) if spec.values else value)
        return Score(item.terminal, item.id, t_s, t_local_s, present, tuple(values))

    async def _results(
        self, events: Sequence[TerminalEvent], tokens: Sequence[int | None] = ()
    ) -> list[str]:
        return [result(cast(int, code)) for code in await self._done(events, tokens)]

    async def _done(
        self, events: Sequence[TerminalEvent], tokens: Sequence[int | None]
    ) -> list[Verdict | int]:
        names = [event.terminal for event in events]
        columns: dict[str, Sequence[object]] = {
            "terminal": names,
            "id": [event.id for event in events],
            "token": [token for token in tokens if token is not None],
        }

        def require() -> None:
            if not self.terminals.has_space(names):
                said = f"would be more than {self.terminals.limit} terminals; start the service "
                raise RefusedError.of(422, "terminal", names[0], said + "with a higher --terminals")
            self.cards.require_none(columns)

        def apply(first: int) -> list[Verdict | int]:
            return [self.terminals.apply(first + i, event) for i, event in enumerate(events)]

        return await self.take([packed(event, self.schema) for event in events], apply, require)

    def restore(self, path: Path) -> int:
        return self.terminals.read(path)

    def repeat(self, number: int, payload: bytes) -> None:
        event = unpacked(payload)
        if not self.terminals.has_space([event.terminal]):
            raise InputError(f"it has more than {self.terminals.limit} terminals: --terminals")
        self.terminals.apply(number, event)

    async def snapshot(self, path: Path, journal: Journal) -> int:
        """A few terminals at a time; requests are answered in between."""
        async with self.lock:
            first = journal.rotate()
            steps = self.terminals.write(path, first, journal.sync_all)
        for i, _ in enumerate(steps):
            if i % _STEP == _STEP - 1:
                await asyncio.sleep(0)
        return first
