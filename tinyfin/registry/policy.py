# SPDX-License-Identifier: Apache-2.0
"""The policy of a registry: who may sign what, and what a pack needs before terminals get it."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from tinyfin.config.toml import read_as, read_toml
from tinyfin.documents import Facts
from tinyfin.errors import ConfigError
from tinyfin.pack.signing import key_id
from tinyfin.pack.trust import load_public_key

__all__ = ["Person", "Policy", "read_policy"]

_PublicKey = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Person(Facts):
    """Somebody, or a machine, with a key of its own."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """Who it is, in every policy: a new key keeps the name."""
    key: _PublicKey
    """Public half."""
    signs: list[str] = Field(default_factory=lambda: ["*"])
    """Kinds of events, ``*`` for any letters."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return bytes.fromhex(self.key)

    @property
    def key_id(self) -> str:
        """As events name the key."""
        return f"{key_id(self.public):08x}"

    def may_sign(self, kind: str) -> bool:
        """Whether events of this kind are theirs."""
        return any(fnmatch.fnmatchcase(kind, pattern) for pattern in self.signs)


class Policy(Facts):
    """What a registry asks for; it stands in the log."""

    approvals: Annotated[int, Field(ge=1)] = 2
    """Persons who must approve a pack, and sign a new policy."""
    own_approval: bool = False
    """Whether the one who added a pack may be one of them."""
    validation: bool = True
    """Whether a pack is validated before it is approved."""
    development: bool = False
    """Whether packs of the development key are trusted, as on a rig."""
    pack_keys: list[_PublicKey] = Field(default_factory=list)
    """Public keys whose packs are trusted."""
    stages: list[_Name] = Field(default_factory=lambda: ["laboratory", "pilot", "production"])
    persons: list[Person]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for what, values in (
            ("stage", self.stages),
            ("name", [person.name for person in self.persons]),
            ("key", [person.key_id for person in self.persons]),
            ("pack key", self.pack_key_ids),
        ):
            twice = [value for i, value in enumerate(values) if value in values[:i]]
            if twice:
                raise ValueError(f"the {what} {twice[0]} is there twice")
        for kind, deed in (("approved", "approve"), ("policy", "sign a new policy")):
            may = len(self.signers(kind))
            if may < self.approvals:
                raise ValueError(f"{self.approvals} must {deed}, and {may} of the persons may")
        if not self.pack_keys and not self.development:
            raise ValueError("pack_keys: name the public keys of those who sign packs")
        return self

    @property
    def pack_key_ids(self) -> list[str]:
        """Of the keys whose packs are trusted, the development key aside."""
        return [f"{key_id(public):08x}" for public in self.pack_publics]

    @property
    def pack_publics(self) -> list[bytes]:
        """The same keys, 32 bytes each."""
        return [bytes.fromhex(key) for key in self.pack_keys]

    def signers(self, kind: str) -> list[Person]:
        """Who may sign events of this kind."""
        return [person for person in self.persons if person.may_sign(kind)]

    def person(self, key: str) -> Person | None:
        """Whose key id that is."""
        return next((person for person in self.persons if person.key_id == key), None)


def read_policy(path: str | Path) -> Policy:
    """The policy of a TOML file, which names files of public keys next to it. Raises ConfigError,
    InputError."""
    table = read_toml(path)
    persons = table.get("persons")
    if not isinstance(persons, list) or not all(isinstance(one, dict) for one in persons):
        raise ConfigError(f"{path}: persons: name each with [[persons]], its name and key")
    for person in persons:
        if isinstance(file := person.get("key"), str):
            person["key"] = load_public_key(Path(path).parent / file, "person").hex()
    keys = table.get("pack_keys", [])
    if not isinstance(keys, list) or not all(isinstance(file, str) for file in keys):
        raise ConfigError(f"{path}: pack_keys: a list of files of public keys is wanted")
    table["pack_keys"] = [load_public_key(Path(path).parent / file).hex() for file in keys]
    return read_as(Policy, path, table)
