# SPDX-License-Identifier: Apache-2.0
"""What the rows of files hold, and what people should know of it before they trust an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.config import Column, Config
from tinyfin.data.transactions import Transactions

__all__ = ["Seen"]

_AMOUNT = "amount_minor"
_DAY_S = 86_400
Arrays = Mapping[str, npt.NDArray[Any]]


class Seen:
    """Which fields rows have, counted chunk by chunk."""

    def __init__(self, config: Config) -> None:
        self.schema, self._plain = config.schema, config.data.plain
        self._mapped = config.data.columns
        self._others = {
            name: other
            for name, how in config.data.columns.items()
            if (other := _other(config, name, how)) is not None
        }
        self._only_other = dict.fromkeys(self._others, False)
        self.rows = self.without_amount = 0
        self._present = 0
        self._outcomes = False
        self._midnight = [True, True]

    @classmethod
    def of(cls, tx: Transactions, config: Config) -> Seen:
        """What transactions hold that were read with ``config``."""
        found = cls(config)
        found.add(
            {
                "present": tx.present,
                "response": tx.response,
                "result": tx.result,
                "t_mono_s": tx.t_mono_s,
                "t_local_s": tx.t_local_s,
            },
            {name: tx.column(name) for name in found._others if name in tx.schema.names},
        )
        return found

    def add_rows(self, arrays: Arrays, rows: npt.NDArray[np.bool_]) -> None:
        """The ``rows`` of a parsed chunk of a file."""
        names = ("present", "response", "result", "t_mono_s", "t_local_s")
        columns = {
            name: arrays["values"][:, self.schema.index(name)][rows]
            for name in self._others
            if name in self.schema.names
        }
        self.add({name: arrays[name][rows] for name in names}, columns)

    def add(self, arrays: Arrays, columns: Arrays) -> None:
        """Rows by the columns of Transactions, and of the fields in ``columns`` their values."""
        present = arrays["present"].astype(np.uint32)
        self.rows += len(present)
        if not len(present):
            return
        self._present |= int(np.bitwise_or.reduce(present))
        response, result = arrays["response"], arrays["result"]
        self._outcomes |= bool(np.any(response >= 0) or np.any(result != 0))
        if _AMOUNT in self.schema.names:
            self.without_amount += int(np.count_nonzero(~self._has(present, _AMOUNT)))
        for i, name in enumerate(("t_mono_s", "t_local_s")):
            self._midnight[i] &= not np.any(arrays[name] % _DAY_S)
        for name, (other, _) in list(self._others.items()):
            there = response >= 0 if name == "response" else self._has(present, name)
            values = response if name == "response" else columns[name]
            if np.any(values[there] != other):
                del self._others[name], self._only_other[name]
            else:
                self._only_other[name] |= bool(there.any())

    @property
    def names(self) -> set[str]:
        """Fields that some row has; ``response`` where one says how a transaction ended."""
        fields = {n for i, n in enumerate(self.schema.names) if self._present >> i & 1}
        return fields | ({"response"} if self._outcomes else set())

    @property
    def only_other(self) -> list[str]:
        """Names of [data] of which every value is the one that "*" means."""
        return [name for name, found in self._only_other.items() if found]

    def remarks(self) -> list[str]:
        """What to say of the rows."""
        lines = []
        amounts = _AMOUNT in self.names or _AMOUNT in self._mapped
        if amounts and self.without_amount:
            lines.append(
                f"{self.without_amount} of {self.rows} rows have no amount: it counts as 0"
            )
        if self.rows > 1 and not self._plain and any(self._midnight):
            lines.append(
                "WARNING: every time is midnight: features on gaps, rates and hours mean nothing; "
                "map a column that has the time of day"
            )
        for name in self.only_other:
            other = self._others[name][1]
            lines.append(
                f'WARNING: every value of {name} is "*" = {other}: no value of the files is '
                f"listed in values of [data] {name}; list them as the files write them"
            )
        return lines

    def _has(self, present: npt.NDArray[np.uint32], name: str) -> npt.NDArray[np.bool_]:
        return np.asarray((present >> np.uint32(self.schema.index(name))) & 1 != 0)


def _other(config: Config, name: str, how: Column) -> tuple[int, str | int] | None:
    """What "*" means, as it is held and as it is written; None without it, or when another
    spelling means the same."""
    if how.values is None or "*" not in how.values or len(how.values) < 2:
        return None
    word = how.values["*"]
    if [str(x) for x in how.values.values()].count(str(word)) > 1:
        return None
    fields = {field.name: field for field in config.schema.fields}
    if name not in fields and name != "response":
        return None
    if name in fields and fields[name].type == "enum":
        names = fields[name].values
        return (names.index(str(word)), word) if word in names else None
    try:
        return int(word), word
    except ValueError:
        return None
