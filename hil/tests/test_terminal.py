# SPDX-License-Identifier: Apache-2.0
"""Examples of a firmware team's own tests; `pytest hil/tests` runs them on every target."""

from __future__ import annotations

import pytest


def test_a_first_transaction_is_judged_and_flagged_cold(terminal):
    verdict = terminal.score(amount_minor=500, token=77)
    assert 0.0 <= verdict.score <= 1.0
    assert verdict.action in ("accept", "go_online", "verify", "decline")
    assert "COLD" in verdict.flags


def test_an_outcome_is_taken_once(terminal):
    verdict = terminal.score(amount_minor=500, token=77)
    assert terminal.outcome(verdict, "approved") == 0
    assert terminal.stats()["committed"] == 1
    assert terminal.outcome(verdict, "approved") != 0, "the second one is refused by the engine"
    assert terminal.stats()["committed"] == 1


def test_a_clock_that_goes_back_is_noticed(terminal):
    terminal.score(amount_minor=500, token=77)
    assert "CLOCK" in terminal.score(amount_minor=500, token=77, after_s=-3600).flags


@pytest.mark.capability("reboot")
def test_state_outlives_a_restart(terminal):
    for amount_minor in (500, 700, 900):
        terminal.outcome(terminal.score(amount_minor=amount_minor, token=77))
    before = terminal.state()
    terminal.reboot(keep_state=True)
    assert terminal.state() == before


def test_an_unknown_field_is_a_mistake_of_the_test(terminal):
    with pytest.raises(Exception, match="no field 'amonut'"):
        terminal.score(amonut=1)
