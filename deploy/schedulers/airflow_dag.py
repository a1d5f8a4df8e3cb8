# SPDX-License-Identifier: Apache-2.0
"""The hourly step of a campaign as a DAG of Airflow 3."""

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

LAKE, NAME = "/srv/tinyfin/lake", "north"
TICK = f"tinyfin fleet campaign tick {LAKE} {NAME} --registry /srv/tinyfin/registry --json"

with DAG(
    "tinyfin_tick",
    schedule="5 * * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
):
    ingest = BashOperator(task_id="ingest", bash_command=f"tinyfin fleet ingest {LAKE} --json")
    ingest >> BashOperator(task_id="tick", bash_command=TICK, retries=2)
