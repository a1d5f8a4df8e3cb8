# SPDX-License-Identifier: Apache-2.0
"""Builds one image: port of the board's family, application, libraries. All data is in the board
file; see ../boards."""

import difflib
import glob
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

from SCons.Script import AlwaysBuild, Builder, Default, DefaultEnvironment, Return, SConscript

env = DefaultEnvironment()
if not env.get("BOARD"):
    SConscript("native.py")
    Return()
platform = env.PioPlatform()
board = env.BoardConfig()
here = os.path.realpath(platform.get_dir())
ports = os.path.realpath(os.path.join(here, "..", "ports"))

arch = board.get("build.arch")
prefix = {"arm": "arm-none-eabi-", "riscv": "riscv64-unknown-elf-", "xtensa": "xtensa-lx106-elf-"}[
    arch
]
cpu = shlex.split(board.get("build.cpu_flags"))
# another board's code on this one's machine: an older core's on a newer core that has more memory
if os.environ.get("TINYFIN_CODE_OF"):
    cpu = shlex.split(env.BoardConfig(os.environ["TINYFIN_CODE_OF"]).get("build.cpu_flags"))
# a name of firmware/ports, or a folder of one's own, relative to the board file: ./port, ../ports/x
port = board.get("build.port")
own_port = None
if port.startswith("."):
    own_port = os.path.normpath(os.path.join(os.path.dirname(board.manifest_path), port))
stack_minimum = board.get("build.stack_minimum", 2048)
defines = board.get("build.defines", [])
regions = [
    ("FLASH", "rx", board.get("build.flash_origin"), board.get("upload.maximum_size")),
    ("RAM", "rwx", board.get("build.ram_origin"), board.get("upload.maximum_ram_size")),
]
for name, (origin, length) in board.get("build.memory", {}).items():
    regions.append((name, "rx", origin, length))


def faults():
    """What of the board file would build an image that does not run."""
    for name, _, origin, _ in regions:
        if not re.fullmatch("0x[0-9A-Fa-f]+", str(origin)):
            yield f'the origin of {name} is {origin!r}; write the address as "0x08000000"'
            return
    values = dict((*define.split("=", 1), "1")[:2] for define in defines)
    header = os.path.join(here, "..", "lib", "tinyfin", "include", "tinyfin.h")
    known = set()
    for path in (header, *glob.glob(os.path.join(own_port or os.path.join(ports, port), "*"))):
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                known.update(re.findall(r"\bTFIN_\w+", file.read()))
    for name in values:
        if name.startswith("TFIN_") and name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {near[0]}?" if near else "tinyfin.h lists all"
            yield f"build.defines: neither tinyfin nor the port has a macro {name}; {hint}"
    try:
        at, slot = (
            int(values.get(f"TFIN_FLASH_{name}", "0").rstrip("uUlL"), 0) for name in ("AT", "SLOT")
        )
    except ValueError:
        yield "TFIN_FLASH_AT and TFIN_FLASH_SLOT: write numbers, such as 0x08010000u"
        return
    for name, access, origin, length in regions:
        if access == "rx" and at < int(origin, 16) + length and at + 2 * slot > int(origin, 16):
            yield (
                f"TFIN_FLASH_AT: slots for packs from {at:#x} on overlap {name}, which the image "
                "may fill; lower upload.maximum_size, or move the slots"
            )


for fault in faults():
    sys.stderr.write(f"error: {board.manifest_path}: {fault}\n")
    env.Exit(1)

env.Replace(
    AR=prefix + "gcc-ar",
    AS=prefix + "gcc",
    CC=prefix + "gcc",
    CXX=prefix + "g++",
    OBJCOPY=prefix + "objcopy",
    RANLIB=prefix + "gcc-ranlib",
    SIZETOOL=prefix + "size",
    ARFLAGS=["rc"],
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    SIZEPROGREGEXP=r"^(?:\.loader|\.vectors|\.text|\.rodata|\.ARM\.exidx|\.ARM\.extab|\.data)\s+(\d+).*",
    SIZEDATAREGEXP=r"^(?:\.boot_seed|\.data|\.bss)\s+(\d+).*",
    SIZECHECKCMD="$SIZETOOL -A -d $SOURCES",
    SIZEPRINTCMD="$SIZETOOL -A -d $SOURCES",
)
env.Append(
    ASFLAGS=cpu,
    ASPPFLAGS=["-x", "assembler-with-cpp"],
    # freestanding: no libc headers are needed; builtin: a memcpy of 4 bytes is a load and a store
    CCFLAGS=[
        *cpu,
        "-Os",
        "-g",
        "-ffreestanding",
        "-fbuiltin",
        "-ffunction-sections",
        "-fdata-sections",
        "-fno-common",
        "-fstack-usage",
        "-fcallgraph-info=su",
        "-Wall",
        "-Wextra",
        "-Wshadow",
    ],
    CFLAGS=["-std=gnu11"],
    CXXFLAGS=["-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"],
    CPPPATH=[ports, os.path.join(ports, "common"), os.path.join(ports, "include")],
    CPPDEFINES=[
        ("TFIN_TARGET", env.StringifyMacro(env.subst("$BOARD"))),
        ("F_CPU", "$BOARD_F_CPU"),
        *defines,
    ],
    LINKFLAGS=[
        *cpu,
        "-nostdlib",
        "-nostartfiles",
        "-Wl,--gc-sections",
        "-Wl,--no-warn-rwx-segments",
        f"-Wl,--defsym=TFIN_STACK_MINIMUM={stack_minimum}",
        "-Wl,-Map=" + env.subst(os.path.join("$BUILD_DIR", "firmware.map")),
    ],
    LIBS=["gcc"],
    LIBPATH=["$BUILD_DIR"],
    BUILDERS={
        "ElfToBin": Builder(
            action=env.VerboseAction("$OBJCOPY -O binary $SOURCES $TARGET", "Building $TARGET"),
            suffix=".bin",
        )
    },
)
loader = board.get("build.loader", {})
if os.environ.get("TINYFIN_WERROR"):
    env.Append(CCFLAGS=["-Werror"])


def write_memory(target, source, env):
    with open(str(target[0]), "w", encoding="utf-8") as file:
        file.write("MEMORY\n{\n")
        for name, access, origin, length in regions:
            file.write(f"  {name} ({access}) : ORIGIN = {origin}, LENGTH = {length}\n")
        file.write("}\n")


memory = env.Command(
    os.path.join("$BUILD_DIR", "memory.ld"),
    board.manifest_path,
    env.VerboseAction(write_memory, "Writing $TARGET"),
)


def plain_loops(env, node):
    """The loops of memory.c must not be recognised as the functions that they are."""
    flags = ["-O2", "-fno-builtin", "-fno-tree-loop-distribute-patterns"]
    return env.Object(node, CCFLAGS=[*env["CCFLAGS"], *flags])


env.AddBuildMiddleware(plain_loops, "*memory.c")

sources = ["-<*>", "+<common/boot.c>", "+<common/memory.c>", "+<common/ring.c>"]
sources += {
    "arm": ["+<common/cortex_m.c>"],
    "riscv": ["+<common/riscv_trap.S>"],
    "xtensa": ["+<common/lx106_integer.c>"],
}[arch]
if own_port is None:
    sources.append(f"+<{port}/>")
else:
    env.BuildSources(os.path.join("$BUILD_DIR", "port", "own"), own_port)
env.BuildSources(os.path.join("$BUILD_DIR", "port"), ports, sources)

# files of firmware/src that another application is built with
shared = [f"+<{name}>" for name in os.environ.get("TINYFIN_SHARED", "").split()]
if shared:
    firmware = os.path.dirname(ports)
    env.Append(CPPPATH=[os.path.join(firmware, "lib", "tinyfin", "include")])
    application = os.path.join(firmware, "src")
    env.BuildSources(os.path.join("$BUILD_DIR", "shared"), application, shared)

# one of ours by its name, or PlatformIO finds it
ldscripts = os.path.join(here, "ldscripts")
ldscript = os.path.join(ldscripts, board.get("build.ldscript", "") or "tinyfin.ld")
if os.path.isfile(ldscript):
    env.Replace(LDSCRIPT_PATH=ldscript)
    env.Append(LIBPATH=[ldscripts])

elf = env.BuildProgram()
env.Depends(elf, [memory, env.subst("$LDSCRIPT_PATH")])


def esptool(*words):
    python = [sys.executable, "-m", "esptool"] if importlib.util.find_spec("esptool") else None
    command = python or [shutil.which("esptool")]
    if command == [None]:
        sys.stderr.write(
            "error: the image of this chip is made by esptool; get it with: pip install esptool\n"
        )
        return 6
    done = subprocess.run([*command, "--chip", loader["chip"], *words], stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.stderr.write(done.stdout.decode(errors="replace"))
    return done.returncode


def flash_content(target, source, env):
    """The flash from its start: what the ROM copies to RAM, as an image, and the program."""
    folder = os.path.dirname(str(target[0]))
    ram, boot, program = (
        os.path.join(folder, name) for name in ("boot.elf", "boot.bin", "program.bin")
    )
    for words in (
        ["-j", ".loader", str(source[0]), ram],
        ["-O", "binary", "-R", ".loader", str(source[0]), program],
    ):
        # it warns of segments that it leaves empty, as it was told to
        done = subprocess.run([env.subst("$OBJCOPY"), *words], stderr=subprocess.PIPE)
        if done.returncode != 0:
            sys.stderr.write(done.stderr.decode(errors="replace"))
            return done.returncode
    parts = [loader["at"], boot, loader["program_at"], program]
    return esptool("elf2image", *loader["flags"], "-o", boot, ram) or esptool(
        "merge-bin", "--flash-mode", "keep", "-o", str(target[0]), *parts
    )


if loader:
    image = env.Command(
        os.path.join("$BUILD_DIR", "firmware.bin"),
        elf,
        env.VerboseAction(flash_content, "Building $TARGET"),
    )
else:
    image = env.ElfToBin(os.path.join("$BUILD_DIR", "firmware"), elf)
env.Depends(image, "checkprogsize")
AlwaysBuild(env.Alias("size", elf, env.VerboseAction("$SIZEPRINTCMD", "Sizes of $SOURCE")))

emulator = board.get("tinyfin.emulator.command", [])
if emulator:
    env.AddCustomTarget(
        name="qemu",
        dependencies=elf,
        actions=[
            env.VerboseAction(
                shlex.join([*emulator, "-serial", "stdio", "-monitor", "none", "-display", "none"])
                + " -kernel "
                + str(elf[0]),
                "Running in QEMU, the serial port on this terminal",
            )
        ],
        title="QEMU",
        description="Run the image, its serial port on this terminal",
    )

flashers = board.get("tinyfin.flash", [])
flasher = next((command for command in flashers if shutil.which(command[0])), None)


def refuse(target, source, env):
    if not flashers:
        hint = "`pio run -t qemu` runs it in the emulator" if emulator else "see docs/boards.md"
        sys.stderr.write(f"error: the board file names no flash tool; {hint}\n")
        return 6
    with open(os.path.join(here, "flash_tools.json"), encoding="utf-8") as file:
        known = json.load(file)
    sys.stderr.write("error: no flash tool of this board is on PATH; install one of them:\n")
    for command in flashers:
        ways = [
            name if by == "url" else f"{by} install {name}"
            for by, name in known.get(command[0], {}).items()
        ]
        sys.stderr.write(f"  {command[0]}: {' or '.join(ways) or 'see its documentation'}\n")
    return 6


def flash(target, source, env):
    port = env.subst("$UPLOAD_PORT")
    if not port and any("{port}" in word for word in flasher):
        sys.stderr.write(
            f"error: {flasher[0]} needs the board's port; add --upload-port PORT, or upload_port = "
            "PORT in platformio.ini (`pio device list` shows the ports)\n"
        )
        return 2
    values = {"{elf}": str(elf[0]), "{bin}": str(image[0]), "{port}": port}
    words = list(flasher)
    for key, value in values.items():
        words = [word.replace(key, value) for word in words]
    print(shlex.join(words))
    return subprocess.call(words)


if env.get("UPLOAD_PROTOCOL") == "custom":
    upload = env.VerboseAction("$UPLOADCMD", "Uploading $SOURCE")
else:
    upload = env.VerboseAction(flash if flasher else refuse, "Uploading")
AlwaysBuild(env.Alias("upload", [elf, image], upload))

Default([elf, image, "size"])
