# SPDX-License-Identifier: Apache-2.0
"""Requests joined with their responses, advices and reversals: one row per transaction."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tinyfin.captures.calendar import Calendar
from tinyfin.captures.elements import (
    Elements,
    NoPayment,
    Row,
    answer_of,
    card_of,
    number_of,
    require_no_card,
    row_of,
)
from tinyfin.captures.messages import Unreadable
from tinyfin.data.tokens import token_of

__all__ = ["KEPT_H", "KEPT_ROWS", "Joiner"]

KEPT_H = 24
"""Hours for which a transaction waits for what changes it: a response, a reversal."""
KEPT_ROWS = 100_000
"""Transactions that wait at most; one more writes the oldest as it is."""

_AUTHORISATION, _FINANCIAL, _REVERSAL = "1", "2", "4"
_REQUEST, _RESPONSE, _ADVICE = "0", "1", "2"


@dataclass
class _Waiting:
    row: Row
    time: dt.datetime
    since: dt.datetime
    """By the clock of the capture."""
    keys: list[tuple[str, str, str]]
    """Of the index."""

    @property
    def is_answered(self) -> bool:
        """By a response, a reversal, or as an advice that says what was done."""
        return self.row["outcome_time"] is not None


@dataclass
class Joiner:
    """Takes messages in the order of the capture; gives rows in the order of their requests.

    A response belongs to the newest waiting request of its class (0110 to 0100, 0210 to 0200) with
    its terminal (DE41) and STAN (DE11), unless both have a retrieval reference number (DE37) and
    these differ. So does a reversal, of any class; DE90 names MTI and STAN of what is reversed. A
    message with another card number or amount than the transaction it would belong to is not
    joined.
    """

    key: bytes
    """Of the tokens."""
    calendar: Calendar
    terminal: str | None = None
    """Of messages that name none."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Messages that are no row of their own and change none, by what they are."""
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _index: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """By terminal, class and function of the MTI, and "stan " or "rrn " with the number."""
    _count: int = 0

    def add(self, mti: str, elements: Elements) -> Iterator[Row]:
        """Take a message; gives the rows that nothing changes any more. Raises Unreadable.

        ``mti`` "" is TLV data, a transaction of its own.
        """
        yield from self._ripe()
        kind, function = (mti[1:2], mti[2:3]) if mti else (_FINANCIAL, _ADVICE)
        if kind not in (_AUTHORISATION, _FINANCIAL, _REVERSAL) or function not in "0123":
            self.passed_over[f"MTI {mti}"] += 1
            return
        require_no_card(elements)
        if kind == _REVERSAL and function in (_REQUEST, _ADVICE):
            self._reverse(elements)
        elif kind == _REVERSAL or function == "3":
            self.passed_over["answers to advices and reversals"] += 1
        elif function == _RESPONSE:
            self._respond(kind, elements)
        elif function == _ADVICE and self._is_there(kind, "02", elements):
            self.passed_over["advices of transactions that are there"] += 1
        elif function == _REQUEST and mti[3] in "135" and self._is_there(kind, "0", elements):
            self.passed_over["repeated requests"] += 1
        else:
            yield from self._begin(mti, kind + function, elements)

    def rest(self) -> Iterator[Row]:
        """The rows that still wait."""
        for waiting in self._waiting.values():
            yield waiting.row
        self._waiting.clear()

    def _begin(self, mti: str, kind: str, elements: Elements) -> Iterator[Row]:
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
        advice = kind[1] == _ADVICE
        answer, response = answer_of(elements) if advice else (None, None)
        if mti and advice and "response" not in elements:
            answer = "approved" if answer is None else answer  # an advice says what was done
        numbers = {name: _text(elements, name) for name in ("stan", "rrn")}
        row |= {
            "time": time,
            "local_time": local or time,
            "terminal": terminal,
            "result": answer,
            "response": response,
            "outcome_time": None if answer is None else time,
            "rrn": numbers["rrn"] or None,
        }
        keys = [(terminal, kind, f"{name} {number}") for name, number in numbers.items() if number]
        self._count += 1
        self._waiting[self._count] = _Waiting(row, time, self.calendar.now or time, keys)
        self._index |= dict.fromkeys(keys, self._count)
        yield from self._ripe()

    def _ripe(self) -> Iterator[Row]:
        now, most = self.calendar.now, dt.timedelta(hours=KEPT_H)
        while self._waiting:
            number, oldest = next(iter(self._waiting.items()))
            waits = now is None or abs(now - oldest.since) <= most
            if waits and len(self._waiting) <= KEPT_ROWS:
                return
            del self._waiting[number]
            for key in oldest.keys:
                if self._index.get(key) == number:
                    del self._index[key]
            yield oldest.row

    def _terminal(self, elements: Elements) -> str:
        name = _text(elements, "terminal") or self.terminal
        if not name:
            raise Unreadable("no terminal (DE41, tag 9F1C); --terminal names that of all messages")
        return name

    def _found(
        self, elements: Elements, kinds: Iterable[str], stan: str | None = None
    ) -> _Waiting | None:
        """What a message belongs to, of classes and functions such as "20" of an MTI.

        ``stan``: of its transaction, where it says it. Raises Unreadable without a terminal.
        """
        terminal, rrn = self._terminal(elements), _text(elements, "rrn")
        wanted = _text(elements, "stan") if stan is None else stan
        for name, number in (("stan", wanted), ("rrn", rrn)):
            keys = [(terminal, kind, f"{name} {number}") for kind in kinds]
            newest = max(self._index.get(key, 0) for key in keys)
            found = self._waiting.get(newest)
            if found is None:
                continue
            differs = rrn and found.row["rrn"] not in (None, rrn)
            if not (differs and name == "stan" and stan is None):
                return found
        return None

    def _contradicts(self, elements: Elements, found: _Waiting) -> bool:
        """Whether both say a card number, or an amount, and these differ.

        0 is no amount; that of a partial approval (response 10) is another. A card number that is
        masked says nothing.
        """
        card, amount = "", elements.get("amount")
        with contextlib.suppress(Unreadable):
            card = card_of(elements)
        token = found.row.get("token")
        if card and token is not None and token_of(card, self.key) != token:
            return True
        if amount is None or _text(elements, "response") == "10":
            return False
        said, asked = number_of(amount, 10**12 - 1), found.row.get("amount_minor")
        return bool(said and asked) and said != asked

    def _is_there(self, kind: str, functions: str, elements: Elements) -> bool:
        """Whether an advice or a repeat tells of a transaction that waits.

        A financial advice also completes an authorisation, whose amount may be another.
        """
        found = self._found(elements, [kind + function for function in functions])
        if found is not None:
            return not self._contradicts(elements, found)
        if (kind, functions) != (_FINANCIAL, "02"):
            return False
        found = self._found(elements, ["10", "12"])
        unpriced = {name: value for name, value in elements.items() if name != "amount"}
        return found is not None and not self._contradicts(unpriced, found)

    def _respond(self, kind: str, elements: Elements) -> None:
        found = self._found(elements, [kind + _REQUEST])
        if found is None:
            self.passed_over["responses without a request"] += 1
        elif self._contradicts(elements, found):
            self.passed_over["responses with another card or amount than their request"] += 1
        elif found.is_answered:
            self.passed_over["further responses"] += 1
        else:
            result, response = answer_of(elements)
            if result is None:
                raise Unreadable("a response without DE39")
            when = self._after(elements, found)
            found.row |= {"result": result, "response": response, "outcome_time": when}

    def _reverse(self, elements: Elements) -> None:
        original = _text(elements, "original")
        stan = original[4:10] if len(original) >= 10 else None
        said = original[1:2] if stan else ""
        classes = said if said in (_AUTHORISATION, _FINANCIAL) else _AUTHORISATION + _FINANCIAL
        found = self._found(elements, [a + b for a in classes for b in "02"], stan)
        replaced = _text(elements, "replacement")[:12]
        if found is None:
            self.passed_over["reversals of nothing that is there"] += 1
        elif replaced.strip("0"):
            self.passed_over["reversals of a part of the amount"] += 1
        elif self._contradicts(elements, found):
            self.passed_over["reversals with another card or amount than their transaction"] += 1
        elif found.row["result"] in (None, "approved"):
            result = "reversed" if found.is_answered else "timed_out"
            found.row |= {"result": result, "outcome_time": self._after(elements, found)}
        else:
            self.passed_over["reversals of what was not approved"] += 1

    def _after(self, elements: Elements, found: _Waiting) -> dt.datetime:
        """When a message was sent, never before its transaction."""
        return max(self.calendar.sent(elements) or found.time, found.time)


def _text(elements: Elements, name: str) -> str:
    value = elements.get(name)
    return "" if value is None else value.text.strip()
