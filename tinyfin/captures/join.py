# SPDX-License-Identifier: Apache-2.0
"""Requests joined with their responses, advices and reversals: one row per transaction."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tinyfin.captures.elements import Calendar, Elements, NoPayment, answer_of, row_of
from tinyfin.captures.messages import Unreadable

__all__ = ["KEPT_H", "KEPT_ROWS", "Joiner"]

KEPT_H = 24
"""Hours for which a transaction waits for what changes it: a response, a reversal."""
KEPT_ROWS = 100_000
"""Transactions that wait at most; one more writes the oldest as it is."""

_AUTHORISATION, _FINANCIAL, _REVERSAL = "1", "2", "4"
_REQUEST, _RESPONSE, _ADVICE = "0", "1", "2"


@dataclass
class _Waiting:
    row: dict[str, Any]
    stan: tuple[str, str]
    rrn: str
    answered: bool = False


@dataclass
class Joiner:
    """Takes messages in the order of the capture; gives rows in the order of their requests.

    A response, and a reversal without DE90, belong to the newest waiting transaction with their
    terminal (DE41) and STAN (DE11), unless both have a retrieval reference number (DE37) and these
    differ. DE90 names the STAN of what is reversed.
    """

    key: bytes
    """Of the tokens."""
    calendar: Calendar
    terminal: str | None = None
    """Of messages that name none."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Messages that are no row of their own and change none, by what they are."""
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _by_stan: dict[tuple[str, str], int] = field(default_factory=dict)
    _by_rrn: dict[tuple[str, str], int] = field(default_factory=dict)
    _count: int = 0

    def add(self, mti: str, elements: Elements) -> Iterator[dict[str, Any]]:
        """Take a message; gives the rows that nothing changes any more. Raises Unreadable.

        ``mti`` "" is TLV data, a transaction of its own.
        """
        kind, function = (mti[1:2], mti[2:3]) if mti else (_FINANCIAL, _ADVICE)
        if kind not in (_AUTHORISATION, _FINANCIAL, _REVERSAL) or function not in "0123":
            self.passed_over[f"MTI {mti}"] += 1
        elif kind == _REVERSAL and function in (_REQUEST, _ADVICE):
            self._reverse(elements)
        elif kind == _REVERSAL or function == "3":
            self.passed_over["answers to advices and reversals"] += 1
        elif function == _RESPONSE:
            self._respond(elements)
        elif function == _ADVICE and self._found(elements) is not None:
            self.passed_over["advices of transactions that are there"] += 1
        elif function == _REQUEST and mti[3] in "135" and self._found(elements) is not None:
            self.passed_over["repeated requests"] += 1
        else:
            yield from self._begin(mti, function, elements)

    def rest(self) -> Iterator[dict[str, Any]]:
        """The rows that still wait."""
        for waiting in self._waiting.values():
            yield waiting.row
        self._waiting.clear()

    def _begin(self, mti: str, function: str, elements: Elements) -> Iterator[dict[str, Any]]:
        terminal = self._terminal(elements)
        sent, local = self.calendar.sent(elements), self.calendar.local(elements)
        time = sent or local
        if time is None:
            raise Unreadable("no date and time (DE7, DE12 and DE13, or tags 9A and 9F21)")
        try:
            row = row_of(elements, mti, self.key)
        except NoPayment as other:
            self.passed_over[str(other)] += 1
            return
        answer, response = answer_of(elements) if function == _ADVICE else (None, None)
        if mti and function == _ADVICE and "response" not in elements:
            answer = "approved" if answer is None else answer  # an advice says what was done
        row |= {
            "time": time,
            "local_time": local or time,
            "terminal": terminal,
            "result": answer,
            "response": response,
            "outcome_time": None if answer is None else time,
            "rrn": _text(elements, "rrn") or None,
        }
        waiting = _Waiting(row, (terminal, _text(elements, "stan")), _text(elements, "rrn"))
        waiting.answered = answer is not None
        self._count += 1
        self._waiting[self._count] = waiting
        self._by_stan[waiting.stan] = self._count
        if waiting.rrn:
            self._by_rrn[terminal, waiting.rrn] = self._count
        yield from self._ripe(time)

    def _ripe(self, now: dt.datetime) -> Iterator[dict[str, Any]]:
        long_ago = now - dt.timedelta(hours=KEPT_H)
        while self._waiting:
            number, oldest = next(iter(self._waiting.items()))
            if oldest.row["time"] >= long_ago and len(self._waiting) <= KEPT_ROWS:
                return
            del self._waiting[number]
            rrn = oldest.stan[0], oldest.rrn
            for index, key in ((self._by_stan, oldest.stan), (self._by_rrn, rrn)):
                if index.get(key) == number:
                    del index[key]
            yield oldest.row

    def _terminal(self, elements: Elements) -> str:
        name = _text(elements, "terminal") or self.terminal
        if not name:
            raise Unreadable("no terminal (DE41, tag 9F1C); --terminal names that of all messages")
        return name

    def _found(self, elements: Elements, stan: str | None = None) -> _Waiting | None:
        """What a message belongs to. Raises Unreadable without a terminal."""
        terminal, rrn = self._terminal(elements), _text(elements, "rrn")
        wanted = _text(elements, "stan") if stan is None else stan
        number = self._by_stan.get((terminal, wanted)) if wanted else None
        found = self._waiting.get(number or 0)
        if found is not None and rrn and found.rrn and found.rrn != rrn and stan is None:
            found = None
        if found is None and rrn:
            found = self._waiting.get(self._by_rrn.get((terminal, rrn), 0))
        return found

    def _respond(self, elements: Elements) -> None:
        found = self._found(elements)
        if found is None:
            self.passed_over["responses without a request"] += 1
        elif found.answered:
            self.passed_over["further responses"] += 1
        else:
            result, response = answer_of(elements)
            if result is None:
                raise Unreadable("a response without DE39")
            found.answered = True
            when = self._after(elements, found)
            found.row |= {"result": result, "response": response, "outcome_time": when}

    def _reverse(self, elements: Elements) -> None:
        original = _text(elements, "original")
        found = self._found(elements, original[4:10] if len(original) >= 10 else None)
        replaced = _text(elements, "replacement")[:12]
        if found is None:
            self.passed_over["reversals of nothing that is there"] += 1
        elif replaced.strip("0"):
            self.passed_over["reversals of a part of the amount"] += 1
        elif found.row["result"] in (None, "approved"):
            result = "reversed" if found.answered else "timed_out"
            found.row |= {"result": result, "outcome_time": self._after(elements, found)}
            found.answered = True
        else:
            self.passed_over["reversals of what was not approved"] += 1

    def _after(self, elements: Elements, found: _Waiting) -> dt.datetime:
        """When a message was sent, never before its transaction."""
        begun: dt.datetime = found.row["time"]
        return max(self.calendar.sent(elements) or begun, begun)


def _text(elements: Elements, name: str) -> str:
    value = elements.get(name)
    return "" if value is None else value.text.strip()
