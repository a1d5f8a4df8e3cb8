# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/serve.md and of the host's fields in docs/python.md run as they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.serving.served import passing_run, running
from tests.support.process import call, need
from tinyfin import paths
from tinyfin.cli.serve import command as serve
from tinyfin.cli.serve_host import command as serve_host

DOCS = paths.project_dir() / "docs"
PAGE = (DOCS / "serve.md").read_text(encoding="utf-8")


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_the_page_runs(tmp_path: Path) -> None:
    need("curl", "bash")
    verdicts, fields = blocks(PAGE, "sh")
    (sql,) = blocks(PAGE, "python")
    run = passing_run(tmp_path / "run")
    with running("serve", run, "--state", tmp_path / "served") as service:
        here = verdicts.replace("http://127.0.0.1:8080", service.url)
        assert here.count(service.url) == 3
        done = call("bash", "-ec", here).stdout.replace("}{", "}\n{").splitlines()
        first, *rest = map(json.loads, done)
        assert 0 < first["verdict"]["score"] < 1
        assert [answer["result"]["status"] for answer in rest] == ["applied", "applied"]
        space: dict[str, Any] = {}
        exec(sql.replace("http://127.0.0.1:8080", service.url), space)
        assert [row[0] for row in space["found"]] == [1, 2, 3, 4, 5]
        assert all(0 < row[1] < 1 for row in space["found"])
        with service.client() as client:
            assert client.get("/health").json()["events"] == 8
    with running("serve-host", "--cards", 10) as service:
        done = call("bash", "-ec", fields.replace("http://127.0.0.1:8081", service.url)).stdout
        assert '"host_card_count_1d": 1' in done
        assert '"host_card_mean_minor": 1250' in done


def test_the_page_names_options_and_errors_that_there_are() -> None:
    known = {option for verb in (serve, serve_host) for p in verb.params for option in p.opts}
    named = set(re.findall(r"`(--[a-z-]+)", PAGE)) | set(re.findall(r" (--[a-z-]+)", PAGE))
    assert named
    assert named <= known
    (error,) = blocks(PAGE, "json")
    assert set(json.loads(error)["errors"][0]) == {"field", "value", "message"}


def test_the_context_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    code = next(block for block in blocks(page, "python") if "HostContext" in block)
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["before"]["host_card_mean_minor"] is None
    names = list(space["before"])
    later = dict(zip(names, space["table"][0].tolist(), strict=True))
    assert later["host_card_known_frauds"] == 1
    assert later["host_card_mean_minor"] == 1250
    assert len(space["restored"]) == 1
