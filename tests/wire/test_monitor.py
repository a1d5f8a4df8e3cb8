# SPDX-License-Identifier: Apache-2.0
"""The monitor of the terminal application: read by wire and report, steps in the audit log, and
compared by a replay."""

from __future__ import annotations

import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.kept_terminal import Terminal
from tests.support.process import needs_cortex_m
from tests.wire.test_audit import ID, KEYS, report_of, verified
from tests.wire.test_state_log import PACK, score, town
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError, MismatchError, TargetError
from tinyfin.field.audit import Kind
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.hil.replay import replay
from tinyfin.pack.container import parse_pack, sign_again
from tinyfin.pack.drift import DriftSection, FeatureHistogram
from tinyfin.pack.monitor_image import read_monitor, split_counts
from tinyfin.targets import build
from tinyfin.wire import field_frames
from tinyfin.wire.client import Client
from tinyfin.wire.messages import Capability

__all__ = ["town"]

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "monitored.tfpack"
    path.write_bytes(sample.monitored(sample.make_pack()))
    return path


@pytest.fixture(scope="module")
def host(pack: Path) -> Path:
    return build_host_terminal(pack.read_bytes(), cflags=("-O1", "-Werror"))


def test_a_replay_compares_the_monitor(pack: Path, host: Path) -> None:
    """Twice, so that the terminal begins with what it has counted before."""
    data, section = pack.read_bytes(), parse_pack(pack.read_bytes()).drift
    with sample.terminal(host, deadline_s=10.0) as client:
        for rounds in (1, 2):
            result = sample.replayed(client, data)
            result.check()
            assert "monitor" in result.compared
            assert result.drift is not None
            assert "stability index" in result.drift
            image = client.monitor()
            counted = read_monitor(image, section)
            assert counted.events == rounds * result.verdicts
    since_step = int.from_bytes(image[36:38], "little")
    assert since_step < counted.events, "the level moved, and verdicts were equal"


def test_a_monitor_that_differs_fails_the_replay(
    pack: Path, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: one bit of the terminal's image."""
    ask = Client.monitor

    def other(client: Client) -> bytes:
        image = bytearray(ask(client))
        image[-1] ^= any(image[24:28])  # after events
        image[8:12] = zlib.crc32(image[24:]).to_bytes(4, "little")
        return bytes(image)

    monkeypatch.setattr(Client, "monitor", other)
    with sample.terminal(host, deadline_s=10.0) as client:
        result = sample.replayed(client, pack.read_bytes(), limit=20)
        assert not result.ok
        with pytest.raises(MismatchError, match="monitor counted other numbers"):
            result.check()


def test_a_restart_would_set_the_level_back(pack: Path, host: Path) -> None:
    tx = sample.make_transactions()
    with (
        sample.terminal(host, deadline_s=10.0) as client,
        pytest.raises(ConfigError, match="alert levels"),
    ):
        replay(pack.read_bytes(), tx, sample.make_stream(tx), client, on_reboot="resume")


def test_a_pack_that_needs_more_is_scored_without(pack: Path) -> None:
    program = build_host_terminal(pack.read_bytes(), defines=("TFIN_MONITOR_BYTES=40",))
    with sample.terminal(program, deadline_s=10.0) as client:
        assert not client.connect().capabilities & Capability.MONITOR
        with pytest.raises(TargetError, match="NOT_OFFERED"):
            client.monitor()
        result = sample.replayed(client, pack.read_bytes())
        result.check()
        assert "monitor" not in result.compared


@needs_cortex_m
def test_reports_and_log_of_an_emulated_terminal(tmp_path: Path, town: Transactions) -> None:
    """Counts as far as they fit; each step of the level is a record, and steps are of one."""
    path = tmp_path / "large.tfpack"
    few = parse_pack(sample.monitored(PACK.read_bytes()))
    assert few.drift is not None
    edges = tuple(range(-700, 800, 100))
    wide = [FeatureHistogram(edges, (1,) * 16, feature=i) for i in range(18)]
    many = DriftSection(few.drift.score, tuple(wide)).encode()
    path.write_bytes(sign_again(few, None, sections={**few.sections, "DRFT": many}))
    parsed = parse_pack(path.read_bytes())
    rows = np.flatnonzero(town.terminal == 0)[:1500]
    image = build.build("cortex-m4", pack=path, defines=("TFIN_STATE_LOG",)).elf
    terminal = Terminal(image, tmp_path / "flash.bin")
    with terminal.on() as (client, _):
        assert client.hello.capabilities & Capability.MONITOR
        field_frames.provision(client, ID, KEYS)
        assert report_of(client).monitor is not None
        score(client, town, rows)
        report = report_of(client)
        image_bytes = client.monitor()
        log = verified(client, report)
    with terminal.on() as (client, _):  # the plug was pulled
        kept = read_monitor(client.monitor(), parsed.drift)
    counted, said = read_monitor(image_bytes, parsed.drift), report.monitor
    assert kept.level == counted.level
    assert 0 < kept.events <= counted.events
    assert said is not None
    assert (said.halvings, said.events, said.level) == (0, len(rows), counted.level)
    reported = split_counts(said.counts, parsed.drift)
    assert 3 < len(reported) < len(counted.histograms)
    for a, b in zip(reported, counted.histograms, strict=False):
        assert a.tolist() == b.tolist()
    section = report.section(5)
    assert section is not None
    assert 255 - 3 * 16 < len(section) <= 255
    steps = [r for r in log.records if r.kind == Kind.LEVEL]
    levels = [1, *(r.detail for r in steps)]
    assert len(steps) > 0
    assert levels[-1] == counted.level
    assert all(abs(b - a) == 1 for a, b in pairwise(levels))
    assert [r.value for r in steps] == sorted({r.value for r in steps})
    assert report.number == 2
