# SPDX-License-Identifier: Apache-2.0
"""docs/registry.md, Copies: its commands, against a registry of containers that runs."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import tinyfin, tinyfin_json
from tests.support.process import call, need
from tests.support.registries import START_S, contents, key, registry
from tinyfin import paths

pytestmark = pytest.mark.live
PAGE = (paths.project_dir() / "docs" / "registry.md").read_text("utf-8")
DEADLINE_S = 60


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """Where an empty registry listens."""
    need("skopeo", "docker-registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "served")}},
        "http": {"addr": found},
    }
    (tmp_path / "served.yml").write_text(json.dumps(settings))
    with (tmp_path / "served.log").open("wb") as log:
        server = subprocess.Popen(
            ["docker-registry", "serve", tmp_path / "served.yml"], stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + DEADLINE_S
        while not _answers(found):
            said = (tmp_path / "served.log").read_text()
            assert server.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.05)
        yield found
    finally:
        server.terminate()
        server.wait(DEADLINE_S)


def _answers(host: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}/v2/", timeout=DEADLINE_S):
            return True
    except OSError:
        return False


def commands(host: str, pack: str, section: str) -> list[list[str]]:
    """Those of the page, for a server without TLS."""
    found = []
    for line in re.findall(r"^    (\S.*)$", section.replace("\\\n        ", ""), re.MULTILINE):
        words = line.replace("registry.example.org", host).replace("PACK", pack).split()
        if words[0] == "skopeo":
            side = "dest" if words[-1].startswith("docker:") else "src"
            words.insert(2, f"--{side}-tls-verify=false")
        found.append(words)
    return found


def test_what_was_pulled_is_what_was_pushed(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    held = contents(Path("run"), {"MODEL_CARD.md": b"# Card", "metrics.json": b"{}"})
    pack = held.facts.pack_id
    made = registry(Path("registry"))
    made.add(held.files, key("a"), now_s=START_S)
    made.validate(pack, {}, key("b"), now_s=START_S + 60)
    section = PAGE.split("## Copies\n")[1].split("\n## ")[0]
    push, pull, *rest = commands(host, pack, section)
    call(*push)
    assert call(*pull).stderr == ""
    for words in rest:
        tinyfin(" ".join(words[1:])) if words[0] == "tinyfin" else call(*words)
    assert tinyfin_json("registry verify --registry pulled")["verdict"] == "VALID"
    there, here = (
        {path.name: path.read_bytes() for path in (top / "blobs" / "sha256").iterdir()}
        for top in (Path("pulled"), Path("registry"))
    )
    assert there == here
    layer = next(iter(made.store.layers(made.find(pack).manifest).values()))["digest"]
    (Path("pulled/blobs") / layer.replace(":", "/")).write_bytes(b"other")
    assert "was changed" in tinyfin("registry verify --registry pulled", code=4).output
    [served] = Path("served").rglob(f"{layer[7:]}/data")
    served.write_bytes(b"other")
    pull[-1] = pull[-1].replace("pulled", "second")
    call(*pull, code=1)
