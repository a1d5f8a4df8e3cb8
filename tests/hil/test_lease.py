# SPDX-License-Identifier: Apache-2.0
"""A board belongs to one job at a time, and to nobody for long when its job is gone."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tinyfin.errors import BenchError
from tinyfin.hil.rigs.lease import Lease

pytestmark = pytest.mark.live


def test_one_at_a_time_and_the_other_is_told_who() -> None:
    with Lease("board", "nightly"):
        with pytest.raises(BenchError, match=rf"process {os.getpid()} \(nightly\), until"):
            Lease("board", "mine").acquire()
        with Lease("another", "mine"):
            pass
    with Lease("board", "mine") as lease:
        assert lease.took_over is None
    assert lease.holder() is None


def test_waiting_ends_when_it_is_given_back() -> None:
    told: list[str] = []
    first = Lease("board", "nightly")
    first.acquire()
    threading.Timer(0.4, first.release).start()
    begin = time.monotonic()
    Lease("board", "mine", wait_s=10.0, note=told.append).acquire()
    assert time.monotonic() - begin < 8
    assert len(told) == 1
    assert "waiting for board, in use by" in told[0]


def test_one_that_ran_out_is_taken_over_and_its_owner_notices() -> None:
    slow = Lease("board", "stopped job", ttl_s=0.1)
    slow.acquire()
    time.sleep(0.15)
    other = Lease("board", "mine")
    assert "it had run out" in (other.acquire() or "")
    with pytest.raises(BenchError, match=r"the lease ran out and .*mine.* has it now"):
        slow.renew()
    with pytest.raises(BenchError, match="Run again"):
        slow.check()
    slow.release()
    holder = other.holder()
    assert holder is not None
    assert holder.what == "mine", "giving back what one has lost takes nothing from its new owner"


def test_it_is_renewed_while_it_is_held() -> None:
    with Lease("board", "long job", ttl_s=0.6) as lease:
        time.sleep(1.2)
        lease.check()
        with pytest.raises(BenchError, match="in use"):
            Lease("board", "mine").acquire()


def test_a_guard_that_is_kept_for_a_while_does_not_end_the_renewing(
    own_leases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that is no longer renewed lets a second job at the board, and nobody is told."""
    monkeypatch.setattr("tinyfin.hil.rigs.lease._GUARD_S", 0.05)
    with Lease("board", "long job", ttl_s=0.4) as lease:
        with (own_leases / "board.guard").open("r+") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            time.sleep(0.5)
        end = time.monotonic() + 10
        while lease.live_holder() is None:
            assert time.monotonic() < end, "nobody renews it"
            time.sleep(0.02)
        lease.check()


def test_one_of_a_process_that_is_gone_is_taken_over(own_leases: Path) -> None:
    script = (
        "import os\nfrom tinyfin.hil.rigs.lease import Lease\n"
        "Lease('board', 'killed job', ttl_s=3600).acquire()\nos._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert done.returncode == 9
    kept = json.loads((own_leases / "board.lease").read_text())
    assert kept["until"] > time.time() + 1000
    assert f"its process {kept['pid']} is gone" in (Lease("board", "mine").acquire() or "")


def test_half_a_file_blocks_nobody(own_leases: Path) -> None:
    own_leases.mkdir()
    (own_leases / "board.lease").write_text('{"owner": "x"')
    assert "it had run out" in (Lease("board", "mine").acquire() or "")


def test_of_many_that_want_it_at_once_one_gets_it() -> None:
    got: list[int] = []
    start = threading.Barrier(8)

    def take(number: int) -> None:
        start.wait()
        try:
            Lease("board", f"job {number}").acquire()
        except BenchError:
            return
        got.append(number)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_names_are_safe_for_files(own_leases: Path) -> None:
    with Lease("socket://bench:4001/../x", "mine"):
        assert [p.name for p in own_leases.glob("*.lease")] == ["socket___bench_4001_.._x.lease"]
