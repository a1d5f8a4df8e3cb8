# SPDX-License-Identifier: Apache-2.0
"""Cards as 64-bit tokens, transaction ids, and hashes of texts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinyfin.data.cells import by_value, inexact_ids, texts, to_mask
from tinyfin.data.parse import Parsed, integers
from tinyfin.errors import ConfigError

__all__ = [
    "DEVELOPMENT_KEY",
    "hash_of",
    "id_of",
    "load_token_key",
    "parse_hashes",
    "parse_ids",
    "parse_tokens",
    "token_of",
]

DEVELOPMENT_KEY = b"tinyfin development token key"
"""Key of the tokens made from a file's card ids, if no other is given. It is public: anybody can
compute the token of a card number, or try all card numbers to find the one behind a token. In a
terminal the payment application makes tokens with a key of its own.
"""

_ID_KEY = b"tinyfin transaction id"
_HASH_KEY = b"tinyfin field hash"
_U64_MAX = 2**64 - 1
_I64_MIN = -(2**63)


def load_token_key(path: str | None) -> bytes:
    """The secret key in a file of 32 to 128 hexadecimal digits; the public one without a file.

    Raises ConfigError, which shows nothing of the file.
    """
    if path is None:
        return DEVELOPMENT_KEY
    try:
        with open(path, "rb") as file:
            key = bytes.fromhex(file.read(1024).decode("ascii").strip())
    except OSError as error:
        raise ConfigError(
            f"{path}: the token key cannot be read: {error.strerror}; see data.token_key_file"
        ) from error
    except ValueError:
        key = b""
    if not 16 <= len(key) <= 64:
        raise ConfigError(
            f"{path}: a token key is a line of 32 to 128 hexadecimal digits; make one with: "
            "python3 -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return key


def token_of(text: str, key: bytes = DEVELOPMENT_KEY) -> int:
    """Keyed BLAKE2b of the UTF-8 text, 8 bytes, read little-endian; 0, which means no card, is 1.

    An integer id is hashed as its decimal digits, so CSV and Parquet give the same token.
    """
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little") or 1


def parse_tokens(
    array: pa.Array, ready: bool, key: bytes = DEVELOPMENT_KEY, *, for_text: str = ""
) -> Parsed:
    """Tokens of a card column as uint64 bit patterns.

    ``ready``: the column already holds 64-bit tokens (integers; a negative one is taken as the bit
    pattern; ``for_text``: what to do where one holds letters). Otherwise every distinct value is
    hashed by :func:`token_of`.
    """
    if not ready:
        return _hashed(array, lambda text: token_of(text, key))
    if pa.types.is_floating(array.type):
        present = to_mask(array.is_valid())
        rule = "a 64-bit token does not fit a floating-point column; store it as an integer"
        return Parsed(np.zeros(len(array), np.int64), present, [(present, rule)])
    return integers(array, _I64_MIN, _U64_MAX, "a 64-bit token", for_text=for_text)


def hash_of(text: str) -> int:
    """BLAKE2b of the UTF-8 text with a public key, 2 bytes, little-endian: 0..65535."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(), digest_size=2, key=_HASH_KEY).digest(), "little"
    )


def parse_hashes(array: pa.Array) -> Parsed:
    """:func:`hash_of` of every value, numbers as people write them."""
    return _hashed(array, hash_of)


def parse_ids(array: pa.Array) -> Parsed:
    """Transaction ids as uint64 bit patterns: whole numbers as they are, other text hashed."""
    if pa.types.is_integer(array.type):
        return integers(array, 0, _U64_MAX, "a transaction id")
    words = texts(array)
    if pc.all(pc.match_substring_regex(words, r"^(0|[1-9][0-9]{0,17})$")).as_py():
        return integers(words, 0, _U64_MAX, "a transaction id")._replace(broken=inexact_ids(array))
    return _hashed(array, id_of)


def _hashed(array: pa.Array, convert: Callable[[str], int]) -> Parsed:
    values, present, _ = by_value(texts(array), convert)
    return Parsed(values, present, inexact_ids(array))


def id_of(text: str) -> int:
    """A whole number as it is, of another text the hash: 0..2^64 - 1."""
    if re.fullmatch(r"0|[1-9][0-9]{0,19}", text) and int(text) <= _U64_MAX:
        return int(text)
    return token_of(text, _ID_KEY)
