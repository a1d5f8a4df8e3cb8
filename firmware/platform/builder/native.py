# SPDX-License-Identifier: Apache-2.0
"""Builds for the workstation: the port of ports/host, the machine's own C compiler. An environment
without a board is one of these: `pio run -e native`, `pio test -e native`."""

import os

from SCons.Script import Default, DefaultEnvironment

env = DefaultEnvironment()
ports = os.path.realpath(os.path.join(env.PioPlatform().get_dir(), "..", "ports"))

env.Replace(
    AR="ar",
    CC=os.environ.get("CC", "cc"),
    CXX=os.environ.get("CXX", "c++"),
    RANLIB="ranlib",
    SIZETOOL=None,
    ARFLAGS=["rc"],
    PROGNAME="program",
)
env.Append(
    CCFLAGS=["-O2", "-g", "-Wall", "-Wextra", "-Wshadow"],
    CFLAGS=["-std=gnu11"],
    CPPPATH=[ports],
    CPPDEFINES=[("TFIN_TARGET", env.StringifyMacro("host"))],
)
if os.environ.get("TINYFIN_WERROR"):
    env.Append(CCFLAGS=["-Werror"])
env.BuildSources(
    os.path.join("$BUILD_DIR", "port"), os.path.join(ports, "host"), "+<port.c> +<no_stack.c>"
)
Default([env.BuildProgram()])
