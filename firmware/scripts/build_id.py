# SPDX-License-Identifier: Apache-2.0
"""Name the build: twelve hex digits of a hash over the firmware's sources, before a build.

HELLO reports it, so that a terminal in the field says which sources it was made of. No date and no
path goes in: the same sources give the same name, and the same image. The pack has an id of its
own and does not count.
"""

import hashlib
from pathlib import Path

SOURCES = ("lib/tinyfin", "ports", "src", "platform/ldscripts")


def build_id(firmware):
    """The name of the sources below `firmware`."""
    digest = hashlib.blake2b(digest_size=6)
    for folder in SOURCES:
        for source in sorted((firmware / folder).rglob("*")):
            if source.suffix in {".c", ".h", ".S", ".ld"}:
                digest.update(source.relative_to(firmware).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


if "Import" in globals():
    Import("env")  # noqa: F821
    name = build_id(Path(env.PioPlatform().get_dir()).resolve().parent)  # noqa: F821

    def _define(env, node):
        return env.Object(node, CPPDEFINES=[*env["CPPDEFINES"], ("TFIN_BUILD_ID", f'\\"{name}\\"')])

    # when some other source changes, only the file that reports the name is compiled again
    env.AddBuildMiddleware(_define, "*/src/wire.c")  # noqa: F821
