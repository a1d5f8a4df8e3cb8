# SPDX-License-Identifier: Apache-2.0
"""Fixtures that tests of several packages share, and what continuous integration may skip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    import pyarrow as pa

    from tests.support.native import Network

# as many workers as cores: threads that wait for each other actively would only be in the way
os.environ.setdefault("OMP_NUM_THREADS", "1")

ALLOWED = (
    "not part of the repository",  # shared anchors and data
    "no 32-bit libc",
    "not a git checkout",
    "tflite-runtime cannot be installed",
    "needs root to be two users",
    "Espressif's QEMU is not here",
    "one process runs all tests",
    "systemd is not the init system here",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A missing compiler or emulator is a failure where everything is meant to be there."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr)
        if not any(text in reason for text in ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped in continuous integration: {reason}"
    return report


# a shared machine may stall for longer than hypothesis allows an example
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``data`` and ``config`` of a small simulation, and a quantized ``run``. Read only."""
    from tests.support.configs import SMALL
    from tinyfin import simulator
    from tinyfin.config import load
    from tinyfin.quantization.workflow import quantize
    from tinyfin.training.workflow import train

    folder = tmp_path_factory.mktemp("training")
    config = folder / "tinyfin.toml"
    config.write_text(SMALL)
    data = folder / "small.parquet"
    settings = load(config)
    simulator.write(simulator.simulate(settings.simulate), data)
    run = train([data], settings, name="small", out=folder / "runs")
    quantize(run)
    return {"data": data, "config": config, "run": run.path}


@pytest.fixture
def run_copy(small: dict[str, Path], tmp_path: Path) -> Path:
    """The small run, to be changed."""
    target = tmp_path / "run"
    shutil.copytree(small["run"], target)
    return target


@pytest.fixture(scope="session")
def unseen_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty days of sixteen terminals that no reference model has seen, with more attacks than
    usual. Read only."""
    from tinyfin import simulator
    from tinyfin.config import Simulate

    data = tmp_path_factory.mktemp("unseen") / "town.parquet"
    attacks = {
        "stolen_terminal": 3.0,
        "card_testing": 3.0,
        "split_sale": 3.0,
        "forced_post": 5.0,
        "distraction_refund": 2.0,
    }
    settings = Simulate(terminals=16, days=30, seed=99, attacks=attacks)
    simulator.write(simulator.simulate(settings), data)
    return data


@pytest.fixture(scope="session")
def judged(small: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, evaluated over two weeks. Its folds may be used again, and are not changed."""
    from tests.support.cli import tinyfin

    folder = tmp_path_factory.mktemp("judged") / "small"
    shutil.copytree(small["run"], folder)
    tinyfin("evaluate", folder, small["data"], "--weeks", 2)
    return folder


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    """Write lines as a CSV file and give its path."""

    def write(*lines: str, name: str = "a.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write columns as a Parquet file and give its path."""

    def write(columns: dict[str, Sequence[Any] | pa.Array], name: str = "a.parquet") -> Path:
        import pyarrow as pa

        from tinyfin import simulator

        path = tmp_path / name
        simulator.write(pa.table(columns), path)
        return path

    return write


@pytest.fixture(scope="session")
def town() -> pa.Table:
    """A small simulated town that holds every scenario."""
    from tinyfin import simulator
    from tinyfin.config import Simulate

    return simulator.simulate(Simulate(terminals=16, days=12, seed=7))


@pytest.fixture(scope="session")
def program() -> Path:
    """A terminal with the sample's pack, as a program of this machine."""
    from tests.support.sample import make_pack
    from tinyfin.hil.links.host_process import build_host_terminal

    return build_host_terminal(make_pack(), cflags=("-O1",))


@pytest.fixture(scope="session")
def net() -> Network:
    """The network's C, compiled for this machine."""
    from tests.support.native import Network

    return Network()
