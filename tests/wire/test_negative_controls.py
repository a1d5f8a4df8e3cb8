# SPDX-License-Identifier: Apache-2.0
"""Replays that must fail, and must say where."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.actions import ACTION_FEATURES, without_actions
from tests.support.cli import tinyfin
from tinyfin.data.events import Stream
from tinyfin.errors import MismatchError
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.hil.replay import replay
from tinyfin.hil.replay.sender import Sender
from tinyfin.oracle.engine import VERIFY
from tinyfin.twin import Twin
from tinyfin.wire.client import Client
from tinyfin.wire.event_frames import Outcome

pytestmark = pytest.mark.live


def run(program: Path, limit: int = 600, **options: int) -> tuple[object, object]:
    with sample.terminal(program) as client:
        return sample.replayed(client, limit=limit, **options), sample.make_transactions()


@pytest.fixture(scope="session")
def tampered() -> Path:
    return build_host_terminal(sample.make_pack(tweak=1), cflags=("-O1",))


def test_one_weight_changed_is_found_and_named(tampered: Path) -> None:
    result, tx = run(tampered)
    found = result.first_mismatch
    assert found is not None
    assert found.field == "network output 0"
    # it is the first event whose output differs, by an engine that runs the other pack
    twins = [Twin(sample.make_pack()), Twin(sample.make_pack(tweak=1))]
    row = int(found.row)
    one = tx.take(tx.terminal == 0)
    answers = [t.run(one, sample.make_stream(one)).outputs for t in twins]
    order = [int(i) for i in sample.make_stream(one).index[sample.make_stream(one).kind == 0]]
    first = next(i for i in order if (answers[0][i] != answers[1][i]).any())
    assert row == one.row[first]
    assert (found.expected, found.got) == (answers[0][first][0], answers[1][first][0])
    with pytest.raises(MismatchError, match=f"row {row} .*network output 0"):
        result.check()


def test_actions_that_are_not_sent_are_seen(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tx = sample.make_transactions()
    assert tx.action.any()
    said = Sender._outcome

    def unsaid(sender: Sender, at: int) -> Outcome:
        return dataclasses.replace(said(sender, at), action_taken=0)

    monkeypatch.setattr(Sender, "_outcome", unsaid)
    result = sample.replayed(client, limit=300)
    found = result.first_mismatch
    assert found is not None
    assert found.field in [f"feature {name}" for name in ACTION_FEATURES]
    mute = without_actions(tx)
    replay(sample.make_pack(), mute, sample.make_stream(mute), client, limit=300).check()


def test_it_is_the_first_difference_whatever_was_sent_behind_it(tampered: Path) -> None:
    whole, _ = run(tampered)
    short, _ = run(tampered, checkpoint_events=8)  # the next pieces are under way already
    assert short.first_mismatch == whole.first_mismatch
    assert short.checkpoints > whole.checkpoints
    assert not short.doubled


def test_a_feature_that_changes_no_score_is_found_and_named() -> None:
    sabotage = Path(__file__).with_name("sabotage_feature.c")
    program = build_host_terminal(
        sample.make_pack(), cflags=("-O1", "-Wl,--wrap=tfin_score", str(sabotage))
    )
    result, tx = run(program)
    found = result.first_mismatch
    assert found is not None
    from tinyfin.pack.container import parse_pack

    assert found.field == f"feature {parse_pack(sample.make_pack()).meta['features'][5]}"
    assert found.id % 97 == 41
    own = tx.id[tx.terminal == 0]
    assert found.id == min(int(i) for i in own if i % 97 == 41)
    assert found.expected ^ found.got == 1


def test_a_build_that_asks_for_no_verification_is_found_and_named() -> None:
    """As an engine from before VERIFY runs the pack: the same actions, without the flag."""
    pack, tx = sample.advising(sample.make_pack()), sample.make_transactions()
    program = build_host_terminal(pack, cflags=("-O1", "-DTFIN_SABOTAGE_VERIFY"))
    with sample.terminal(program) as client:
        result = sample.replayed(client, pack, limit=600)
    found = result.first_mismatch
    assert found is not None
    assert (found.field, found.expected ^ found.got) == ("flags", VERIFY)
    twin = Twin(pack, terminals=len(tx.terminals)).run(tx, sample.make_stream(tx))
    advice, got = twin.advice[result.row], result.action
    assert np.array_equal(got, twin.action[result.row]), "VERIFY is GO_ONLINE where it is not known"
    assert {*np.unique(advice).tolist()} == {0, 1, 2, 3}
    assert np.array_equal((result.flags ^ twin.flags[result.row]) == VERIFY, advice == 2)


def test_a_source_that_was_changed_is_compiled_again(tmp_path: Path) -> None:
    source = tmp_path / "more.c"
    built = []
    for text in ("int more = 1;\n", "int more = 2;\n", "int more = 1;\n"):
        source.write_text(text)
        built.append(build_host_terminal(sample.make_pack(), cflags=("-O0", str(source))))
    assert built[0] == built[2] != built[1]


def test_the_command_line_says_so(tampered: Path, program: Path, tmp_path: Path) -> None:
    from tinyfin import config, simulator

    pack = tmp_path / "model.tfpack"
    pack.write_bytes(sample.make_pack())
    data = tmp_path / "data.parquet"
    settings = config.load(None).simulate.model_copy(update={"terminals": 3, "days": 8, "seed": 5})
    simulator.write(simulator.simulate(settings), data)

    def verb(*words: str) -> tuple[int, str, str]:
        done = tinyfin(f"replay {pack} {data}", *words, code=None)
        return done.exit_code, done.stdout, done.stderr

    code, out, _ = verb("--port", f"exec:{program}", "--limit", "300", "--json")
    assert code == 0
    good = json.loads(out)
    assert good["transactions"] == good["verdicts"] == 300
    assert good["mismatches"] == good["lost"] == 0

    code, out, err = verb("--port", f"exec:{tampered}", "--limit", "300", "--json")
    assert code == 4
    bad = json.loads(out)
    assert bad["mismatches"] > 0
    assert bad["first_mismatch"]["field"] == "network output 0"
    assert "network output 0 differs" in err

    assert verb("--limit", "300")[0] == 2
    assert verb("--port", "exec:/bin/false")[0] == 5


def test_a_replay_that_compared_nothing_is_no_success(program: Path) -> None:
    tx = sample.make_transactions()
    stream = sample.make_stream(tx)
    notices = stream.kind == 2
    unscored = Stream(stream.kind[notices], stream.index[notices], stream.t_mono_s[notices])
    with sample.terminal(program) as client:
        result = replay(sample.make_pack(), tx, unscored, client)
    assert result.transactions == result.verdicts == result.lost == 0
    assert not result.ok
    with pytest.raises(MismatchError, match="nothing was compared"):
        result.check()
