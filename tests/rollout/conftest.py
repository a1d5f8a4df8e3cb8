# SPDX-License-Identifier: Apache-2.0
"""Databases of campaigns: SQLite in a file, and a PostgreSQL of one's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import free_ports

_BIN = Path("/usr/lib/postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server that listens to this machine alone, in a folder that goes with it."""
    found = sorted(_BIN.glob("*/bin/initdb"))
    program = str(found[-1]) if found else shutil.which("initdb")
    if program is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg")
    tools = Path(program).resolve().parent
    root = os.geteuid() == 0
    if root and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    # a TMPDIR of root's own is closed to the user of the server
    place = "/tmp" if root else None
    with tempfile.TemporaryDirectory(
        prefix="tinyfin-pg", dir=place, ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        if root:
            shutil.chown(folder, "postgres", "postgres")
        [port] = free_ports(1)

        def run(*words: str) -> None:
            as_user = ["runuser", "-u", "postgres", "--"] if root else []
            log = folder.parent / f"{folder.name}.log"
            with log.open("wb") as out:  # a pipe would stay open in the server
                done = subprocess.run(
                    [*as_user, *words], stdout=out, stderr=out, cwd="/", timeout=120, check=False
                )
            text = log.read_text(errors="replace")
            log.unlink()
            assert done.returncode == 0, text

        data = str(folder / "data")
        run(str(tools / "initdb"), "-D", data, "-A", "trust", "-U", "tinyfin", "-N")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
        control = str(tools / "pg_ctl")
        run(control, "-D", data, "-w", "-t", "60", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://tinyfin@127.0.0.1:{port}/postgres"
        finally:
            run(control, "-D", data, "-w", "-m", "immediate", "stop")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database in which no campaign is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'campaigns.sqlite'}"
    import sqlalchemy as sa

    server = str(request.getfixturevalue("postgres"))
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"c{os.urandom(6).hex()}"
    with engine.connect() as base:
        base.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.replace("/postgres", f"/{name}")
