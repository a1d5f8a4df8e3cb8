# SPDX-License-Identifier: Apache-2.0
"""Keys that an HSM guards; SoftHSM stands in for it."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import tinyfin, tinyfin_json
from tests.support.native import compiler
from tests.support.process import call
from tinyfin.errors import InputError, ToolError
from tinyfin.field.keys import load_fleet_key
from tinyfin.pack.signing import load_key, sign, verify
from tinyfin.pack.trust import load_public_key

TOOL = shutil.which("softhsm2-util")
PLACES = (
    "/usr/lib/softhsm",
    "/usr/lib64/softhsm",
    "/usr/local/lib/softhsm",
    "/opt/homebrew/lib/softhsm",
)
MODULE = next((p for x in PLACES if (p := Path(x) / "libsofthsm2.so").is_file()), None)
pytestmark = pytest.mark.skipif(
    TOOL is None or MODULE is None, reason="SoftHSM is not installed: apt-get install softhsm2"
)
URI = "pkcs11:token=tinyfin%20test;object=seal"
MAKE_A_LOOSE_KEY = """
import sys, pkcs11
token = pkcs11.lib(sys.argv[1]).get_token(token_label="tinyfin test")
with token.open(user_pin="5678", rw=True) as session:
    leaves = {pkcs11.Attribute.EXTRACTABLE: True}
    session.generate_key(pkcs11.KeyType.AES, 256, label="loose", store=True, template=leaves)
"""


@pytest.fixture(scope="module", autouse=True)
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A token."""
    folder = tmp_path_factory.mktemp("hsm")
    conf = folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {folder}\nobjectstore.backend = file\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(conf))
        patch.setenv("PKCS11_MODULE", str(MODULE))
        patch.setenv("PKCS11_PIN", "5678")
        words = ["--init-token", "--free", "--so-pin", "1234", "--pin", "5678", "--label"]
        call(str(TOOL), *words, "tinyfin test")
        yield


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "command.key"
    tinyfin(f"keygen {path} --kind command --hsm {URI.replace(';', chr(92) + ';')}")
    return path


def test_a_sealed_key_signs(sealed: Path) -> None:
    key = load_key(sealed, "command")
    public = load_public_key(f"{sealed}.pub", "command")
    assert key.public == public
    assert verify(sign(b"message", key), b"message", public)
    assert key.seed.hex() not in sealed.read_text()
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="holds the secret command key; a root key is wanted"):
        load_key(sealed, "root")


def test_a_sealed_key_is_of_no_use_without_the_hsm(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, digits, uri = sealed.read_text().split()
    sealed.write_text(f"root-sealed {digits} {uri}\n")
    with pytest.raises(InputError, match="does not open it"):
        load_key(sealed, "root")
    for text in (f"{digits[:-1]}{'01'[digits[-1] == '0']}", digits[:-2]):
        sealed.write_text(f"{kind} {text} {uri}\n")
        with pytest.raises(InputError, match=r"does not open it|it is cut"):
            load_key(sealed, "command")
    sealed.write_text(f"{kind} {digits} {uri.replace('seal', 'other')}\n")
    with pytest.raises(ToolError, match="the HSM says NoSuchKey"):
        load_key(sealed, "command")
    sealed.write_text(f"{kind} {digits} pkcs11:object=seal\n")
    with pytest.raises(InputError, match="name token and key of the HSM"):
        load_key(sealed, "command")
    sealed.write_text(f"{kind} {digits} {uri}\n")
    monkeypatch.setenv("PKCS11_PIN", "0000")
    with pytest.raises(ToolError, match="the HSM says PinIncorrect"):
        load_key(sealed, "command")
    monkeypatch.delenv("PKCS11_PIN")
    with pytest.raises(InputError, match="set PKCS11_PIN"):
        load_key(sealed, "command")
    monkeypatch.setenv("PKCS11_PIN", "5678")
    monkeypatch.setenv("PKCS11_MODULE", "/nowhere.so")
    with pytest.raises(ToolError, match=r"/nowhere\.so"):
        load_key(sealed, "command")
    monkeypatch.delenv("PKCS11_MODULE")
    with pytest.raises(InputError, match="set PKCS11_MODULE"):
        load_key(sealed, "command")


def test_the_key_of_the_hsm_stays_there(tmp_path: Path) -> None:
    call(sys.executable, "-c", MAKE_A_LOOSE_KEY, MODULE)
    for uri, said in ((URI.replace("seal", "loose"), "may leave the HSM"), ("a b", "name token")):
        assert said in tinyfin("keygen", tmp_path / "k", "--hsm", uri, code=3).stderr
        assert not list(tmp_path.iterdir())


def test_every_kind_can_be_sealed(tmp_path: Path) -> None:
    for kind in ("release", "root", "person", "fleet"):
        path = tmp_path / kind
        facts = tinyfin_json("keygen", path, "--kind", kind, "--hsm", URI)
        assert facts["sealed"] is True
    assert len(load_fleet_key(tmp_path / "fleet")) == 32
    for kind in ("release", "root", "person"):
        assert load_key(tmp_path / kind, kind).public == load_public_key(  # type: ignore[arg-type]
            tmp_path / f"{kind}.pub",
            kind,  # type: ignore[arg-type]
        )


def test_a_module_that_crashes_is_said_so(sealed: Path, tmp_path: Path) -> None:
    """It ends its own process, and not this one."""
    source = tmp_path / "crash.c"
    source.write_text(
        "__attribute__((constructor)) static void f(void) { *(volatile int *)0 = 1; }"
    )
    call(compiler(), "-shared", "-fPIC", source, "-o", tmp_path / "crash.so")
    kind, digits, uri = sealed.read_text().split()
    sealed.write_text(f"{kind} {digits} {uri}?module-path={tmp_path / 'crash.so'}\n")
    with pytest.raises(ToolError, match="the module of the HSM failed: exit code -"):
        load_key(sealed, "command")
