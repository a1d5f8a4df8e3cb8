# SPDX-License-Identifier: Apache-2.0
"""A service in a process of its own, and a stream of transactions as it is sent one."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import queue
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.cli import tinyfin
from tests.support.run_json import RUN
from tinyfin.config import load
from tinyfin.data.events import NOTICE, OUTCOME, SCORE, Notices, event_stream
from tinyfin.data.transactions import ACTIONS, EPOCH_UNIX_S, RESULTS, Transactions
from tinyfin.serving.scoring_service import ScoringService
from tinyfin.serving.service import Service
from tinyfin.serving.web import Limits, application

DEADLINE_S = 120
JSON = {"content-type": "application/json"}
PATHS = {
    SCORE: ("/score", "transactions"),
    OUTCOME: ("/outcomes", "outcomes"),
    NOTICE: ("/notices", "notices"),
}


@dataclass
class Running:
    """A service that answers."""

    process: subprocess.Popen[str]
    url: str

    def client(self, **how: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=DEADLINE_S, trust_env=False, **how)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def end(self) -> str:
        """End it as a service manager does; what it said on standard error."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, said
        return said


@contextlib.contextmanager
def running(*words: object) -> Iterator[Running]:
    """``tinyfin WORDS`` on a free port."""
    command = [sys.executable, "-m", "tinyfin", *map(str, words)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Running(process, _address(process))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(DEADLINE_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _address(process: subprocess.Popen[str]) -> str:
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    out = process.stdout
    threading.Thread(target=lambda: lines.put(out.readline()), daemon=True).start()
    said = lines.get(timeout=DEADLINE_S)
    if not said.startswith("answers at "):
        raise AssertionError(f"{said!r}: {process.communicate(timeout=DEADLINE_S)}")
    return said.split()[-1]


class InProcess:
    """A client of a service that runs in this process, without a socket."""

    def __init__(self, service: Service, limits: Limits | None = None) -> None:
        self.service = service
        transport = httpx.ASGITransport(application(service, limits or Limits()))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://here", headers=JSON)
        self._loop = asyncio.new_event_loop()

    def post(self, path: str, **how: Any) -> httpx.Response:
        return self._loop.run_until_complete(self._client.post(path, **how))

    def request(self, method: str, path: str) -> httpx.Response:
        return self._loop.run_until_complete(self._client.request(method, path))

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def stop(self) -> None:
        """As when a signal ends the service."""
        self._loop.run_until_complete(self.service.stop())
        self._loop.close()


def opened(run: Path, state: Path | None = None, **how: Any) -> ScoringService:
    """The service of a run, in this process."""
    pack, schema = (run / "model.tfpack").read_bytes(), load(run / "config.toml").schema
    return ScoringService(pack, schema, folder=state, **{"terminals": 99, **how})


@dataclass(frozen=True)
class Posted:
    """A request: what it asks about, and the rows of the transactions."""

    kind: int
    rows: tuple[int, ...]
    items: tuple[dict[str, Any], ...]

    def send(self, client: httpx.Client | InProcess) -> list[dict[str, Any]]:
        """Its answers, numbers as the texts that came."""
        path, many = PATHS[self.kind]
        alone = len(self.items) == 1
        body = self.items[0] if alone else {many: self.items}
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        found = json.loads(answer.text, parse_float=str, parse_int=str)
        one, several = ("verdict", "verdicts") if self.kind == SCORE else ("result", "results")
        answers: list[dict[str, Any]] = [found[one]] if alone else found[several]
        assert len(answers) == len(self.items)
        assert set(found) == {"pack_id", "model_id", one if alone else several}
        return answers


def item_of(tx: Transactions, row: int, kind: int, t_s: int) -> dict[str, Any]:
    """An event as JSON."""
    item: dict[str, Any] = {
        "terminal": tx.terminals[tx.terminal[row]],
        "id": int(tx.id[row]),
        "time": t_s + EPOCH_UNIX_S,
    }
    if kind == OUTCOME:
        more = {"response": int(tx.response[row]), "action": ACTIONS[tx.action[row]]}
        return {**item, "result": RESULTS[tx.result[row]], **more}
    if kind == NOTICE:
        item["transaction_time"] = int(tx.t_mono_s[row]) + EPOCH_UNIX_S
        if token := int(tx.column("token")[row]):
            item["token"] = token
        return {**item, "fraud": bool(tx.label[row])}
    if tx.t_local_s[row] != tx.t_mono_s[row]:
        item["local_time"] = int(tx.t_local_s[row]) + EPOCH_UNIX_S
    for spec in tx.schema.fields:
        if tx.has(spec.name)[row]:
            value = int(tx.column(spec.name)[row])
            item[spec.name] = spec.values[value] if spec.type == "enum" else value
    return item


def requests_of(
    tx: Transactions, notices: Notices, rng: random.Random, most: int = 20
) -> list[list[Posted]]:
    """By terminal, its events in order, as requests of random sizes."""
    stream = event_stream(tx, notices)
    found: list[list[Posted]] = [[] for _ in tx.terminals]
    size = 0
    for kind, row, t in zip(
        stream.kind.tolist(), stream.index.tolist(), stream.t_mono_s.tolist(), strict=True
    ):
        mine = found[tx.terminal[row]]
        item = item_of(tx, row, kind, t)
        if mine and mine[-1].kind == kind and len(mine[-1].rows) < size:
            mine[-1] = Posted(kind, (*mine[-1].rows, row), (*mine[-1].items, item))
        else:
            mine.append(Posted(kind, (row,), (item,)))
            size = rng.randint(1, most)
    return found


def sent(
    connect: Callable[[], contextlib.AbstractContextManager[httpx.Client | InProcess]],
    terminals: Sequence[Sequence[Posted]],
    connections: int,
) -> dict[int, dict[str, Any]]:
    """The verdicts by row, of a load of many connections; each terminal keeps its order."""
    verdicts: dict[int, dict[str, Any]] = {}

    def work(share: Sequence[Sequence[Posted]]) -> None:
        rng = random.Random(len(share))
        queues = [list(requests) for requests in share if requests]
        with connect() as client:
            while queues:
                mine = rng.choice(queues)
                posted = mine.pop(0)
                queues = [q for q in queues if q]
                answers = posted.send(client)
                if posted.kind == SCORE:
                    verdicts.update(zip(posted.rows, answers, strict=True))
                else:
                    assert {answer["status"] for answer in answers} <= {"applied", "refused"}

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(work, [terminals[i::connections] for i in range(connections)]))
    return verdicts


def cells(verdict: dict[str, Any]) -> dict[str, str]:
    """A verdict as `tinyfin score` writes it to CSV."""
    return {
        name: "; ".join(value) if isinstance(value, list) else value
        for name, value in verdict.items()
    }


def passing_run(folder: Path, label_delay: str = "7d") -> Path:
    """A folder that passes as a run: the reference pack and its configuration."""
    model = Path(__file__).parents[2] / "models" / "payment"
    folder.mkdir()
    config = (model / "tinyfin.toml").read_text(encoding="utf-8")
    (folder / "config.toml").write_text(config.replace('"7d"', f'"{label_delay}"'))
    (folder / "model.tfpack").write_bytes((model / "model.tfpack").read_bytes())
    (folder / "run.json").write_text(json.dumps(RUN))
    return folder


def score_file(run: Path, data: Path, out: Path) -> list[dict[str, str]]:
    """The rows of `tinyfin score`, as texts."""
    tinyfin(f"score {run} {data} --out {out} --with terminal,id --quiet")
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = ("input_row", "notices")
    return [{k: v for k, v in row.items() if k not in kept} for row in rows]
