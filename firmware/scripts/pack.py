# SPDX-License-Identifier: Apache-2.0
"""Compile the pack into the image, before a PlatformIO build.

Either the C that `tinyfin codegen` wrote (option custom_tinyfin_generated, or TINYFIN_GENERATED),
or C generated here from a pack (option custom_tinyfin_pack, or TINYFIN_PACK; "none" builds without
one). The kernels that the networks of its packs need, and no others, are linked
(option custom_tinyfin_kernels, or TINYFIN_KERNELS: "pack"; "fc" for FULLY_CONNECTED and tables;
"all"). Option custom_tinyfin_public_keys, or TINYFIN_PUBLIC_KEYS: the public keys that the image
trusts, as files of 64 hex digits or as the digits themselves, separated by blanks. Option
custom_tinyfin_root_key, or TINYFIN_ROOT_KEY: the public root key, in the same way.
When model.LAYOUT.tfpack of `tinyfin repack` lies next to the pack and the board's kernels like that
layout of weights, it is taken instead. Generated files lie in the build folder and are only written
again when the pack, the keys or the generator change. Needs only the standard library: tinyfin need
not be installed.
"""

import hashlib
import importlib
import os
import re
import sys
from pathlib import Path


def _refuse(env, message):
    sys.stderr.write(f"error: {message}\n")
    env.Exit(1)


def _setting(env, name):
    """The environment variable TINYFIN_<NAME>, or the option custom_tinyfin_<name>."""
    text = os.environ.get("TINYFIN_" + name.upper())
    return env.GetProjectOption("custom_tinyfin_" + name, "") if text is None else text


def _public_keys(env, root, option="public_keys", kind=""):
    keys = []
    for word in _setting(env, option).split():
        text = word
        if not re.fullmatch("[0-9a-fA-F]{64}", word):
            path = root / word
            if not path.is_file():
                _refuse(
                    env,
                    f"custom_tinyfin_{option} = {word}: no such file; give a .pub file "
                    "of `tinyfin keygen`",
                )
            text = path.read_text().strip()
            if not re.fullmatch(kind + "[0-9a-fA-F]{64}", text):
                _refuse(env, f"{path}: holds no public key for custom_tinyfin_{option}")
        keys.append(bytes.fromhex(text.removeprefix(kind)))
    return keys


def _generate(env, root, pack):
    """C for the pack, under the build folder; returns that folder."""
    checkout = str(Path(env.PioPlatform().get_dir()).resolve().parents[1])
    sys.path.insert(0, checkout)  # in an installed package: no checkout
    try:
        emit = importlib.import_module("tinyfin.codegen.emit")
    except ImportError as error:
        _refuse(
            env,
            f"tinyfin.codegen.emit: {error}; build from a complete checkout, or set "
            "custom_tinyfin_generated to a folder written by `tinyfin codegen`",
        )
    finally:
        sys.path.remove(checkout)
    folder = Path(env.subst("$BUILD_DIR")) / "tinyfin_generated"
    digest = hashlib.sha256(pack.read_bytes())
    package = Path(emit.__file__).parents[1]
    names = (package / "schema.py", package / "features" / "catalogue" / "reasons.py")
    for source in (*sorted((package / "codegen").glob("*.py")), *names):
        digest.update(source.read_bytes())
    keys = _public_keys(env, root)
    root_keys = _public_keys(env, root, "root_key", "root-public ")
    if len(root_keys) > 1:
        _refuse(env, "custom_tinyfin_root_key: give one key")
    digest.update(repr((keys, root_keys)).encode())
    stamp = folder / "made_from.sha256"
    if not stamp.is_file() or stamp.read_text() != digest.hexdigest():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            emit.emit(pack, folder, keys=keys, root_key=root_keys[0] if root_keys else None)
        except Exception as error:
            _refuse(env, f"{pack}: {error}")
        stamp.write_text(digest.hexdigest())
    return folder


def _in_layout(env, pack):
    """The pack in the layout of the board's kernels, if it lies next to it and is of this pack."""
    layout = env.BoardConfig().get("tinyfin.layout", "") if env.get("BOARD") else ""
    other = pack.with_name(f"{pack.name.removesuffix('.tfpack')}.{layout}.tfpack")
    if not layout or not other.is_file():
        return pack
    heads = [path.read_bytes()[:128] for path in (pack, other)]
    if heads[0][:36] + heads[0][40:] != heads[1][:36] + heads[1][40:]:  # all but the layout
        sys.stderr.write(
            f"warning: {other.name} is of another pack than {pack.name}: not used; "
            "make it again with `tinyfin repack`\n"
        )
        return pack
    return other


PROFILES = {"fc": ("FULLY_CONNECTED", "TABLE")}


def _kernels(env, folder):
    """Compile net.c for the kernels of the profile; refuse a pack that needs others."""
    profile = _setting(env, "kernels") or "pack"
    found = re.findall(
        r"network kernels: ([^;]*);.*?#define \w+_KERNELS (\d+)u",
        "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.h"))),
        re.DOTALL,
    )
    if profile not in ("pack", "all", *PROFILES):
        _refuse(env, f"custom_tinyfin_kernels = {profile}: use pack, all, {', '.join(PROFILES)}")
    if profile == "all" or "TFIN_KERNELS" in os.environ.get("PLATFORMIO_BUILD_FLAGS", ""):
        return
    if profile == "pack" and not found:
        return
    mask = 0
    if profile == "pack":
        for _, of_one in found:
            mask |= int(of_one)
    else:
        mask = (1 << len(PROFILES[profile])) - 1
        needed = [name for names, _ in found if names != "none" for name in names.split(", ")]
        missing = [name for name in dict.fromkeys(needed) if name not in PROFILES[profile]]
        if missing:
            _refuse(
                env,
                f"the pack needs kernels that profile {profile} does not link: "
                f"{', '.join(missing)}; set custom_tinyfin_kernels to pack or all",
            )
    env.AddBuildMiddleware(
        lambda env, node: env.Object(
            node, CPPDEFINES=[*env["CPPDEFINES"], ("TFIN_KERNELS", f"{mask}u")]
        ),
        "*tinyfin/src/network/net.c",
    )


def _platformio(env):
    if env.IsCleanTarget():
        return
    root = Path(env.subst("$PROJECT_DIR"))
    generated = _setting(env, "generated")
    pack = _setting(env, "pack")
    if generated:
        folder = root / generated
        if not any(folder.glob("*.c")):
            _refuse(
                env,
                f"custom_tinyfin_generated = {generated}: no C there; "
                "write it with `tinyfin codegen RUN --out DIR`",
            )
    elif pack == "none":
        return
    elif (root / pack).is_file():
        folder = _generate(env, root, _in_layout(env, root / pack))
    else:
        _refuse(
            env,
            f"custom_tinyfin_pack = {pack}: no such file; make a pack with "
            "`tinyfin quantize RUN`, or set the option to one",
        )
    _kernels(env, Path(folder))
    env.Append(CPPPATH=[str(folder)])
    env.BuildSources(os.path.join("$BUILD_DIR", "pack"), str(folder), "+<*.c>")


if "Import" in globals():
    Import("env")  # noqa: F821
    _platformio(env)  # noqa: F821
