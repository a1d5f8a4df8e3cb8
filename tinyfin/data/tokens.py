# SPDX-License-Identifier: Apache-2.0
"""Cards as 64-bit tokens; what looks like a card number is refused."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.data.parse import Parsed, flat, integers, over_words, texts
from tinyfin.data.problems import is_luhn
from tinyfin.errors import DataError

__all__ = [
    "DEVELOPMENT_KEY", "hash_of", "parse_hashes", "parse_ids", "parse_tokens", "refuse_pans",
    "token_of",
]  # fmt: skip

DEVELOPMENT_KEY = b"tinyfin development token key"
"""Key of the tokens made from a file's card ids. It is public, so it protects nothing: it only
spreads ids over 64 bits. In a terminal the payment application makes tokens with a key of its own.
"""

_ID_KEY = b"tinyfin transaction id"
_HASH_KEY = b"tinyfin field hash"
_SAMPLE = 20_000
_PAN_SHARE = 0.5  # of the distinct values; random digits pass Luhn once in ten
_PAN = r"^[0-9](?:[ -]?[0-9]){12,18}$"
_U64_MAX = 2**64 - 1


def token_of(text: str, key: bytes = DEVELOPMENT_KEY) -> int:
    """Keyed BLAKE2b of the UTF-8 text, 8 bytes, read little-endian; 0, which means no card, is 1.

    An integer id is hashed as its decimal digits, so CSV and Parquet give the same token.
    """
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little") or 1


def parse_tokens(column: pa.Array, ready: bool) -> Parsed:
    """Tokens of a card column as uint64 bit patterns.

    ``ready``: the column already holds 64-bit tokens (integers; an int64 is taken as the bit
    pattern). Otherwise every distinct value is hashed by :func:`token_of`.
    """
    array = flat(column)
    if not ready:
        values, present = over_words(array, token_of)
        return Parsed(values, present, [])
    if pa.types.is_floating(array.type):
        present = array.is_valid().to_numpy(zero_copy_only=False)
        rule = "a 64-bit token does not fit a floating-point column; store it as an integer"
        return Parsed(np.zeros(len(array), np.int64), present, [(present, rule)])
    if pa.types.is_signed_integer(array.type):
        return integers(array, -(2**63), 2**63 - 1, "a 64-bit token")
    return integers(array, 0, _U64_MAX, "a 64-bit token")


def hash_of(text: str) -> int:
    """BLAKE2b of the UTF-8 text with a public key, 2 bytes, little-endian: 0..65535."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=2, key=_HASH_KEY).digest(),
                          "little")


def parse_hashes(column: pa.Array) -> Parsed:
    """:func:`hash_of` of every value, numbers as people write them."""
    values, present = over_words(flat(column), hash_of)
    return Parsed(values, present, [])


def parse_ids(column: pa.Array) -> Parsed:
    """Transaction ids as uint64 bit patterns: whole numbers as they are, other text hashed."""
    array = flat(column)
    if pa.types.is_integer(array.type):
        return integers(array, 0, _U64_MAX, "a transaction id")
    plain = pc.match_substring_regex(texts(array), r"^(0|[1-9][0-9]{0,18})$")
    if pc.all(plain).as_py():
        return integers(array, 0, _U64_MAX, "a transaction id")
    values, present = over_words(array, _id)
    return Parsed(values, present, [])


def _id(text: str) -> int:
    if re.fullmatch(r"0|[1-9][0-9]{0,19}", text) and int(text) <= _U64_MAX:
        return int(text)
    return token_of(text, _ID_KEY)


def refuse_pans(column: pa.Array, file: str, name: str) -> None:
    """Raise DataError if most values of a card column look like card numbers.

    That is 13 to 19 digits which pass the Luhn check. The values are not shown.
    """
    words = texts(flat(column)).unique().drop_null()
    if len(words) > _SAMPLE:
        words = words.take(np.linspace(0, len(words) - 1, _SAMPLE).astype(np.int64))
    long = words.filter(pc.match_substring_regex(words, _PAN))
    if len(long) <= _PAN_SHARE * len(words):
        return
    passed = sum(is_luhn(re.sub(r"\D", "", word)) for word in long.to_pylist())
    if passed > _PAN_SHARE * len(words):
        raise DataError(
            f"{file}, column {name}: holds card numbers ({passed} of {len(words)} distinct values "
            "have 13 to 19 digits and pass the Luhn check). Card numbers must not be stored "
            "readable (PCI DSS 3.5.1) and tinyfin takes none: replace them at their source by a "
            "keyed 64-bit hash or another token. The values are not shown."
        )
