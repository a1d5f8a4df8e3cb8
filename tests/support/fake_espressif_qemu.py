# SPDX-License-Identifier: Apache-2.0
"""What Espressif's QEMU is to tinyfin, with the chip of :mod:`tests.support.espressif_chips`.

It takes the options that the real one takes, refuses what the real one refuses, boots the flash
file, and says what the ROM says first.
"""

from __future__ import annotations

import re
import select
import socket
import stat
import sys
from pathlib import Path

from tests.support.process import ROOT

ROM = b"ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021\r\nrst:0x1 (POWERON),boot:0x8\r\n"
OPTIONS = {"-M", "-display", "-monitor", "-nic", "-drive", "-icount", "-chardev", "-serial"}
FLASH_SIZES = tuple(n << 20 for n in (2, 4, 8, 16))


def install(folder: Path, program: str = "qemu-system-riscv32") -> Path:
    """Put it into a folder for PATH, under the real one's name."""
    folder.mkdir(exist_ok=True)
    script = folder / program
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.support.fake_espressif_qemu import main\nmain(sys.argv[1:])\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def main(words: list[str]) -> None:
    if words == ["--version"]:
        print("QEMU emulator version 9.2.2 (esp_develop)")
        return
    if words[:2] == ["-M", "help"]:
        print("Supported machines are:\nesp32c3              Espressif ESP32-C3 machine\nnone")
        return
    options = dict(zip(words[::2], words[1::2], strict=True))
    if set(options) - OPTIONS or options["-M"] != "esp32c3" or "-drive" not in options:
        sys.exit(f"qemu-system-riscv32: {' '.join(words)}: cannot be run")
    drive = re.fullmatch(r"file=(\S+),if=mtd,format=raw", options["-drive"])
    fd = re.fullmatch(r"socket,id=uart,fd=(\d+),server=on,wait=on", options["-chardev"])
    assert drive is not None
    assert fd is not None
    content = Path(drive[1].replace(",,", ",")).read_bytes()
    if len(content) not in FLASH_SIZES:
        sys.exit("Error: only 2, 4, 8, 16 MB flash images are supported")
    serve(content, socket.socket(fileno=int(fd[1])))


def serve(content: bytes, listener: socket.socket) -> None:
    """Run until the process is ended; the guest starts with the first connection."""
    from tests.support.espressif_chips import C3, Espressif

    chip = Espressif(C3, content)
    print("QEMU waiting for connection on: disconnected:tcp:127.0.0.1", flush=True)
    greeting = ROM
    while True:
        link, _ = listener.accept()
        link.sendall(greeting)
        greeting = b""
        while True:
            if select.select([link], [], [], 0.0)[0]:
                data = link.recv(65536)
                if not data:
                    break
                chip.write(data)
            if answer := chip.read(0.0):
                link.sendall(answer)
            elif not chip.line.received:
                select.select([link], [], [], 0.01)
