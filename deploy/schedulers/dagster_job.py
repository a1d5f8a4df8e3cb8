# SPDX-License-Identifier: Apache-2.0
"""The hourly step of a campaign as a schedule of Dagster."""

import subprocess

from dagster import Definitions, ScheduleDefinition, job, op

LAKE, NAME = "/srv/tinyfin/lake", "north"


@op
def tick() -> None:
    """Ends with an error when the campaign is halted."""
    words = ["tinyfin", "fleet", "campaign", "tick", LAKE, NAME, "--json"]
    subprocess.run(words, check=True, timeout=1800)


@job
def tinyfin_tick() -> None:
    """Idempotent within the hour."""
    tick()


defs = Definitions(schedules=[ScheduleDefinition(job=tinyfin_tick, cron_schedule="5 * * * *")])
