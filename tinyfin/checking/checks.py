# SPDX-License-Identifier: Apache-2.0
"""What was found in files of transactions as checks, in a sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from tinyfin.monitoring.checks import by_state
from tinyfin.results.check import Against, DataCheck
from tinyfin.results.monitor import CheckResult, State

__all__ = ["checks_of"]

_NAMED = 3
_UNSEEN = 0.01
"""Share of codes that were not seen in training from which it is said."""
_TOO_RECENT = 0.5


def checks_of(found: DataCheck) -> list[CheckResult]:
    """The checks, by state; those that are wrong for sure come before those that hint."""
    return by_state([*_rows(found), *_time(found), *_labels(found), *_against(found.against)])


def _check(check: str, state: State, bad: bool, text: str, good: str) -> CheckResult:
    """``state`` with ``text`` if it is bad, else ok."""
    return CheckResult(check=check, state=state if bad else "ok", text=text if bad else good)


def _rows(found: DataCheck) -> Iterator[CheckResult]:
    columns = ", ".join(f"{one.column} of {one.file}" for one in found.cards)
    yield _check(
        "card numbers",
        "failed",
        bool(found.cards),
        f"{columns}: looks like card numbers, which must not be stored readable (PCI DSS 3.5.1)",
        "no column looks like card numbers",
    )
    most = sorted(found.bad_rows.items(), key=lambda x: -x[1])[:_NAMED]
    rules = "; ".join(f"{n} x {rule}" for rule, n in most)
    bad = found.data.bad_rows
    text = f"{bad:,} of {bad + found.data.rows:,} rows cannot be read: {rules}"
    yield _check("bad rows", "failed", bad > 0, text, "every row can be read")
    double = found.doubles
    yield _check(
        "double ids",
        "failed",
        double.ids > 0,
        f"{double.ids:,} rows have the id of an earlier row of their terminal",
        "no id is there twice",
    )
    text = f"{double.rows:,} rows are those of others once more"
    if double.example is not None:
        text += f", one of them: {double.example}"
    yield _check("double rows", "warning", double.rows > 0, text, "no row is there twice")
    shares = found.missing
    missing = [f"{name} is mapped, and no row has it" for name in shares if shares[name] == 1]
    if 0 < (share := shares.get("amount_minor", 0)) < 1:
        missing.append(f"{100 * share:.2g} % of the rows have no amount_minor")
    partly = sum(0 < share < 1 for share in shares.values())
    good = f"{partly} of {len(shares)} mapped fields are missing in some rows"
    yield _check("missing values", "warning", bool(missing), "; ".join(missing), good)
    strange = "; ".join(
        f"{one.rows:,} rows have a {name} of no ISO list: "
        f"{', '.join(f'{code:03}' for code in one.codes[:_NAMED])}"
        for name, one in found.codes.items()
    )
    yield _check("codes", "warning", bool(found.codes), strange, "every ISO code is in its list")


def _time(found: DataCheck) -> Iterator[CheckResult]:
    gaps, silent = found.gaps, found.silent
    longest = max(gaps, key=lambda gap: gap.hours, default=None)
    many = "pause of all terminals is" if len(gaps) == 1 else "pauses of all terminals are"
    text = f"{len(gaps)} {many} much longer than on other days"
    if longest is not None:
        text += f"; the longest, from {longest.begin}, takes {longest.hours:.3g} hours"
    yield _check("gaps in time", "warning", bool(gaps), text, "no unusual pause of all terminals")
    named = ", ".join(f"{one.terminal} since {one.last}" for one in silent[:_NAMED])
    fall = "falls" if len(silent) == 1 else "fall"
    text = f"{len(silent)} of {found.data.terminals} terminals {fall} silent: {named}"
    yield _check("silent terminals", "warning", bool(silent), text, "no terminal falls silent")


def _labels(found: DataCheck) -> Iterator[CheckResult]:
    facts = found.labels
    if facts is not None:
        text = (
            f"{facts.frauds:,} frauds, {facts.genuine:,} genuine, {facts.unlabelled:,} without a "
            f"label; nine of ten labels of the slower kind come within {facts.horizon_days:.3g} "
            f"days, and {100 * facts.too_recent:.3g} % of the rows are younger"
        )
        if facts.reports_end is not None:
            text += f"; most fraud reports on rows from {facts.reports_end} on are still to come"
        bad = facts.too_recent > _TOO_RECENT or facts.reports_end is not None or not facts.frauds
        yield _check("label maturity", "warning", bad, text, text)
    for one in found.label_files:
        text = f"{one.not_taken:,} rows of {one.file} are not taken, {one.taken:,} are"
        if one.incomplete:
            text += f"; {one.incomplete:,} of them lack something or cannot be read"
        yield _check(f"labels {one.name}", "warning", one.not_taken > 0, text, text)
    for file in found.label_files_gone:
        text = f"{file} is not there, so nothing is known of what it says"
        yield CheckResult(check="label files", state="failed", text=text)


def _against(found: Against | None) -> Iterator[CheckResult]:
    for column in found.columns if found is not None else ():
        text = f"population stability index {column.stability_index:.3f} against the training"
        if column.state == "too_few_rows":
            text = f"{column.rows:,} rows to compare with {column.trained_rows:,}"
        yield CheckResult(check=f"drift of {column.name}", state=column.state, text=text)
    for name, share in found.unseen.items() if found is not None else ():
        text = f"{100 * share:.2g} % of the rows have a {name} that was not seen in training"
        yield _check(f"unseen {name}", "warning", share >= _UNSEEN, text, text)
