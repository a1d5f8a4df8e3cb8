# SPDX-License-Identifier: Apache-2.0
"""Key files that only an HSM opens (PKCS #11): the secret is encrypted by an AES key that never
leaves the HSM.

No HSM computes the signatures of tinyfin, EdDSA with BLAKE2b. So the HSM guards the secret, and
this process signs with it: it is in this process's memory while a command runs, and nowhere else.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from tinyfin import optional_packages
from tinyfin.errors import InputError, ToolError
from tinyfin.pack.key_files import KEY_BYTES

if TYPE_CHECKING:
    from pkcs11 import Session

__all__ = ["opened", "sealed"]

_NONCE_BYTES, _TAG_BYTES = 12, 16
_SEALED_BYTES = _NONCE_BYTES + KEY_BYTES + _TAG_BYTES
_AES_BITS = 256
_DEADLINE_S = 60


def sealed(secret: bytes, kind: str, uri: str) -> bytes:
    """The 32 secret bytes of a key, encrypted (AES-GCM, ``kind`` is authenticated too) by the AES
    key that ``uri`` names (RFC 7512: ``pkcs11:token=...;object=...``); it is made if need be.

    The module of the HSM is ``?module-path=`` of the uri, or PKCS11_MODULE of the environment; the
    PIN is PKCS11_PIN, or asked for. Raises InputError for the uri or a key that could leave the
    HSM, ToolError for the HSM.
    """
    optional_packages.require(["pkcs11"], "for a key in an HSM")
    return _in_a_process_of_its_own("seal", uri, kind, secret)


def opened(path: str | Path, kind: str, data: bytes, uri: str) -> bytes:
    """The 32 secret bytes of what :func:`sealed` has made. Raises as it does; InputError, with
    ``path``, too when the HSM does not open it."""
    optional_packages.require(["pkcs11"], f"to open {path}")
    if len(data) != _SEALED_BYTES:
        raise InputError(f"{path}: holds {len(data)} sealed bytes, not {_SEALED_BYTES}; it is cut")
    try:
        return _in_a_process_of_its_own("open", uri, kind, data)
    except _NotOpened as error:
        raise InputError(f"{path}: {error}") from error


class _NotOpened(InputError):
    """The key of the HSM does not open a file."""


def _in_a_process_of_its_own(what: str, uri: str, kind: str, data: bytes) -> bytes:
    """Modules of HSMs bring libraries of their own, which do not go together with everything that
    this process has loaded."""
    asked = {"what": what, "uri": uri, "kind": kind, "data": data.hex()}
    _, named = _parts(uri)
    asked["pin"] = _pin(named["token"])
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{uri}: the HSM does not answer within {_DEADLINE_S} s") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        told = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ToolError(f"{uri}: the module of the HSM failed: {told[0]}") from None
    if "error" in answer:
        raises = {"InputError": InputError, "_NotOpened": _NotOpened}
        raise raises.get(answer["error"], ToolError)(answer["message"])
    return bytes.fromhex(answer["data"])


def _main() -> None:
    """The other process: reads what is asked from stdin, writes the answer to stdout."""
    asked = json.load(sys.stdin)
    do = {"seal": _seal, "open": _open}[asked["what"]]
    try:
        data = do(bytes.fromhex(asked["data"]), asked["kind"], asked["uri"], asked["pin"])
        answer = {"data": data.hex()}
    except (InputError, ToolError) as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    json.dump(answer, sys.stdout)


def _seal(secret: bytes, kind: str, uri: str, pin: str) -> bytes:
    from pkcs11 import Attribute, KeyType, NoSuchKey

    nonce = secrets.token_bytes(_NONCE_BYTES)
    with _session(uri, pin, write=True) as (session, label):
        try:
            key = _key(session, label)
        except NoSuchKey:
            stays = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
            key = session.generate_key(
                KeyType.AES, _AES_BITS, label=label, store=True, template=stays
            )
        if key[Attribute.EXTRACTABLE]:
            raise InputError(
                f"{uri}: that key may leave the HSM (CKA_EXTRACTABLE); name one that may not, or a "
                "new name, and it is made"
            )
        return nonce + bytes(key.encrypt(secret, **_how(nonce, kind)))


def _open(data: bytes, kind: str, uri: str, pin: str) -> bytes:
    from pkcs11 import PKCS11Error

    nonce, text = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
    with _session(uri, pin) as (session, label):
        key = _key(session, label)
        try:
            return bytes(key.decrypt(text, **_how(nonce, kind)))
        except PKCS11Error as error:
            raise _NotOpened(
                f"key {label!r} of the HSM does not open it ({type(error).__name__}); it was "
                "sealed by another key, or is damaged"
            ) from error


def _key(session: Session, label: str) -> Any:
    from pkcs11 import ObjectClass

    return session.get_key(label=label, object_class=ObjectClass.SECRET_KEY)


def _how(nonce: bytes, kind: str) -> dict[str, Any]:
    """AES-GCM; a file whose kind was changed does not open."""
    from pkcs11 import GCMParams, Mechanism

    params = GCMParams(nonce, kind.encode(), 8 * _TAG_BYTES)
    return {"mechanism": Mechanism.AES_GCM, "mechanism_param": params}


def _parts(uri: str) -> tuple[str, dict[str, str]]:
    """The module for a uri, and its names. Raises InputError."""
    scheme, _, rest = uri.partition(":")
    path, _, query = rest.partition("?")
    named = {k: unquote(v) for k, _, v in (x.partition("=") for x in path.split(";"))}
    plain = uri.isascii() and not set(uri) & set(" \t\n")
    if not plain or scheme != "pkcs11" or not {"token", "object"} <= named.keys():
        raise InputError(f"{uri}: name token and key of the HSM: pkcs11:token=TOKEN;object=KEY")
    module = dict(parse_qsl(query)).get("module-path") or os.environ.get("PKCS11_MODULE")
    if not module:
        raise InputError(
            f"{uri}: set PKCS11_MODULE to the library of the HSM, such as "
            "/usr/lib/softhsm/libsofthsm2.so"
        )
    return module, named


@contextmanager
def _session(uri: str, pin: str, *, write: bool = False) -> Iterator[tuple[Session, str]]:
    """A session with the token of a uri, and the label of its key."""
    import pkcs11

    module, named = _parts(uri)
    try:
        token = pkcs11.lib(module).get_token(token_label=named["token"])
        with token.open(user_pin=pin, rw=write) as session:
            yield session, named["object"]
    except pkcs11.PKCS11Error as error:
        told = f"{type(error).__name__} {error}".strip()
        raise ToolError(f"{uri}: the HSM says {told}; check module, token, key and PIN") from error


def _pin(token: str) -> str:
    pin = os.environ.get("PKCS11_PIN")
    if pin is None and sys.stdin.isatty():
        pin = getpass.getpass(f"PIN of token {token}: ")
    if pin is None:
        raise InputError(f"token {token} of the HSM needs its PIN: set PKCS11_PIN")
    return pin


if __name__ == "__main__":
    _main()
