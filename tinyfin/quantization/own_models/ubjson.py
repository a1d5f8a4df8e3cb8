# SPDX-License-Identifier: Apache-2.0
"""Universal Binary JSON (https://ubjson.org, draft 12), as far as XGBoost writes it.

Own code because XGBoost's reader trusts the lengths and indices of a file: a damaged one ends the
process with a segmentation fault, where no error can be raised.
"""

from __future__ import annotations

import numpy as np

__all__ = ["decode_ubjson"]

_MAX_DEPTH = 64
_TYPES = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_WHOLE = "iUIlL"


def decode_ubjson(data: bytes) -> object:
    """What is in ``data``. Raises ValueError for bytes that are no UBJSON."""
    reader = _Reader(data)
    return reader.value(reader.mark(), 0)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, n: int) -> bytes:
        part = self._data[self._at : self._at + n]
        if len(part) != n:
            raise ValueError(f"ends at byte {len(self._data)}, {n} more are needed")
        self._at += n
        return part

    def mark(self) -> str:
        """The next type."""
        return chr(self._take(1)[0])

    def _number(self, kind: str) -> int | float:
        dtype = np.dtype(_TYPES[kind])
        found: int | float = np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()
        return found

    def _length(self) -> int:
        kind = self.mark()
        if kind not in _WHOLE:
            raise ValueError(f"byte {self._at - 1}: a length of type {kind!r}")
        found = int(self._number(kind))
        # each element takes a byte at least
        if not 0 <= found <= len(self._data) - self._at:
            raise ValueError(f"byte {self._at}: a length of {found}")
        return found

    def _text(self) -> str:
        return self._take(self._length()).decode()

    def value(self, kind: str, depth: int) -> object:
        """The value of a type that was just read."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"byte {self._at}: nested too deep")
        if kind in _TYPES:
            return self._number(kind)
        if kind in "ZTF":
            return {"Z": None, "T": True, "F": False}[kind]
        if kind == "S":
            return self._text()
        if kind == "[":
            return self._array(depth)
        if kind == "{":
            return self._object(depth)
        raise ValueError(f"byte {self._at - 1}: {kind!r} is no type")

    def _peek(self) -> str:
        return chr(self._data[self._at]) if self._at < len(self._data) else ""

    def _array(self, depth: int) -> object:
        if self._peek() == "$":
            self._at += 1
            kind = self.mark()
            if kind not in _TYPES or self.mark() != "#":
                raise ValueError(f"byte {self._at - 1}: an array of {kind!r}")
            count, dtype = self._length(), np.dtype(_TYPES[kind])
            return np.frombuffer(self._take(count * dtype.itemsize), dtype).tolist()
        if self._peek() == "#":
            self._at += 1
            return [self.value(self.mark(), depth + 1) for _ in range(self._length())]
        found = []
        while (kind := self.mark()) != "]":
            found.append(self.value(kind, depth + 1))
        return found

    def _object(self, depth: int) -> object:
        found: dict[str, object] = {}
        while self._peek() != "}":
            name = self._text()
            found[name] = self.value(self.mark(), depth + 1)
        self._at += 1
        return found
