# SPDX-License-Identifier: Apache-2.0
"""``tinyfin serve-host``: the fields of `host-fields` over HTTP, through restarts and snapshots."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.serving.served import InProcess, running
from tests.serving.test_host_context import ODDS, example, stream_of
from tinyfin.data.events import SCORE
from tinyfin.data.transactions import EPOCH_UNIX_S
from tinyfin.errors import InputError
from tinyfin.serving.host_context import HostContext, Notice, Outcome, Request, shard_of
from tinyfin.serving.host_service import HostService
from tinyfin.training.card_odds import CardOdds
from tinyfin.training.host_fields import host_columns, host_specs


def item_of(event: Request | Outcome | Notice) -> dict[str, Any]:
    """An event as JSON; the 64-bit numbers as texts."""
    item = {"token": str(event.token), "id": event.id, "time": event.t_s + EPOCH_UNIX_S}
    if isinstance(event, Request):
        return {"kind": "request", **item, "amount_minor": event.amount_minor}
    if isinstance(event, Outcome):
        return {"kind": "outcome", **item, "result": event.result, "response": event.response}
    then = event.t_tx_s + EPOCH_UNIX_S
    return {"kind": "notice", **item, "transaction_time": then, "fraud": event.fraud}


@pytest.mark.parametrize("odds", [None, ODDS])
def test_answers_are_those_of_host_fields(tmp_path: Path, odds: CardOdds | None) -> None:
    """One card's event after the other, with restarts after snapshots, kills and in between."""
    tx, rng = example(), random.Random(4)
    missing = {spec.name: spec.missing for spec in host_specs(odds)}
    found: dict[str, dict[int, int]] = {name: {} for name in missing}
    client = InProcess(HostService(HostContext(50, odds=odds), folder=tmp_path))
    for kind, row, event in stream_of(tx):
        if kind == SCORE:
            when = {"token": event.token, "time": event.t_s + EPOCH_UNIX_S}
            fields = client.post("/fields", json=when).json()["fields"]
            for name, value in fields.items():
                found[name][row] = missing[name] if value is None else value
        done = client.post("/events", json=item_of(event)).json()["result"]
        assert done["status"] == "applied"
        if rng.random() < 0.02:
            if rng.random() < 0.5:
                client.stop()
            client = InProcess(HostService(HostContext(50, odds=odds), folder=tmp_path))
    for name, values in host_columns(tx, odds=odds).items():
        assert [found[name][row] for row in range(len(tx))] == values.tolist()


def test_a_process_that_is_killed_and_its_shard(tmp_path: Path) -> None:
    tx = example()
    events = [item_of(event) for _, _, event in stream_of(tx)]
    mine = [e for e in events if shard_of_text(e["token"]) == 1]
    others = [e for e in events if shard_of_text(e["token"]) == 0]
    assert mine
    assert others
    words = ("serve-host", "--cards", 100, "--shards", 2, "--shard", 1, "--state", tmp_path)
    with running(*words) as service, service.client() as client:
        body = {"events": mine[:20]}
        results = client.post("/events", json=body).json()["results"]
        assert [r["status"] for r in results] == ["applied"] * 20
        wrong = client.post("/events", json=others[0])
        assert wrong.status_code == 422
        assert "belongs to shard 0 of 2" in wrong.json()["errors"][0]["message"]
        asked = [{"token": e["token"], "time": mine[20]["time"]} for e in mine[:20]]
        before = client.post("/fields", json={"cards": asked}).json()
        assert any(f["host_card_count_30d"] for f in before["fields_of_cards"])
        assert client.get("/health").json()["shard"] == "1 of 2"
        service.kill()
    restarted = HostContext(100, shard=1, shards=2)
    again = InProcess(HostService(restarted, folder=tmp_path))
    assert again.post("/fields", json={"cards": asked}).json() == before
    again.stop()
    with pytest.raises(InputError, match="holds shard 1 of 2, and this is shard 0 of 1"):
        HostService(HostContext(100), folder=tmp_path)


def shard_of_text(token: str) -> int:
    import numpy as np

    return int(shard_of(np.array([int(token)], np.uint64), 2)[0])


def test_wrong_events() -> None:
    client = InProcess(HostService(HostContext(5), folder=None))
    plain = {"kind": "notice", "token": 5, "id": 1, "time": 1_700_000_000}
    for change, field in (
        ({}, "transaction_time"),
        ({"transaction_time": 1_600_000_000}, "fraud"),
        ({"transaction_time": "soon", "fraud": True}, "transaction_time"),
        ({"token": 0}, "token"),
        ({"kind": "refund"}, "kind"),
    ):
        answer = client.post("/events", json={**plain, **change})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field
    assert client.get("/health").json()["cards"] == 0
