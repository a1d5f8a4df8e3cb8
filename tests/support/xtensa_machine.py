# SPDX-License-Identifier: Apache-2.0
"""An ESP32 or ESP32-S3 image on the lx106 core of QEMU's machine "sim", registers in its memory.

The machine has neither chip's memory map, so a variant of the image is linked for the addresses
that it has (:func:`variant`); start-up, port and application are the same sources. As the ROM would
do, the loader is put into RAM and entered; the program is at both windows, because memory that is
mapped already is all that the machine has. QEMU's debugger stub is the UART: it stops the guest at
every access to the FIFOs. That makes it slow, and a link of the harness.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.support.process import call
from tinyfin.targets import catalogue
from tinyfin.targets.build import BuildResult, symbol_addresses

CODE, CONSTANTS, LOADER, RAM = 0x4010_0000, 0x4020_0000, 0x4000_0000, 0x3FF8_0000
WINDOW_BYTES, RAM_BYTES = 1 << 20, 0x2C000
REGISTERS = 0x6100_0000
"""Where the chips' registers are: their addresses' low 24 bits from here on."""
UART = {"esp32": 0x3FF4_0000, "esp32-s3": 0x6000_0000}
SEND = 0x6000_0000
STATUS = 0x1C
FROM_HOST = 0x5A5A_5A00
"""Above a byte that the host has put into the FIFO; the guest writes plain bytes."""
DONE = {"esp32": {0x3FF0_0040: 1 << 5, 0x3FF0_03F0: 1 << 7}}
"""What registers say from the start on where the guest waits for it: flushed, idle."""
DONE["esp32-s3"] = {0x600C_4028: 1 << 3, 0x600C_4088: 1 << 1}
START_S = 20.0


def place(address: int) -> int:
    """Where a register of the chip is in this machine."""
    return REGISTERS + (address & 0xFF_FFFF)


def variant(name: str, folder: Path) -> tuple[catalogue.Target, list[str]]:
    """The board, linked for this machine, and the flags for a build of it."""
    board = json.loads(catalogue.get(name).board_file.read_text())
    board["build"].update(flash_origin=hex(CODE), ram_origin=hex(RAM))
    board["build"]["memory"] = {
        "CONSTANTS": [hex(CONSTANTS), WINDOW_BYTES],
        "LOADER": [hex(LOADER), 0x4000],
    }
    board["upload"] = {"maximum_size": WINDOW_BYTES, "maximum_ram_size": RAM_BYTES}
    (folder / f"{name}-sim.json").write_text(json.dumps(board))
    header = folder / "registers_in_memory.h"
    header.write_text(
        f"#define TFIN_REGISTER(address) ({REGISTERS:#x}u + ((address) & 0xFFFFFFu))\n"
    )
    return catalogue.get(f"{name}-sim", folder), ["-include", str(header)]


class Stub:
    """A client of QEMU's debugger stub."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._buffer = b""

    def send(self, text: str) -> None:
        data = text.encode()
        self._link.sendall(b"$" + data + b"#%02x" % (sum(data) & 0xFF))

    def interrupt(self) -> None:
        self._link.sendall(b"\x03")

    def receive(self, timeout_s: float) -> str | None:
        """The next packet, or None when there is none within the time."""
        end = time.monotonic() + timeout_s
        while True:
            start = self._buffer.find(b"$")
            stop = self._buffer.find(b"#", start)
            if start >= 0 and 0 < stop <= len(self._buffer) - 3:
                packet = self._buffer[start + 1 : stop]
                self._buffer = self._buffer[stop + 3 :]
                self._link.sendall(b"+")
                return packet.decode()
            self._link.settimeout(max(0.001, end - time.monotonic()))
            try:
                piece = self._link.recv(65536)
            except TimeoutError:
                return None
            assert piece, "QEMU has ended"
            self._buffer += piece

    def ask(self, text: str) -> str:
        self.send(text)
        while (answer := self.receive(START_S)) is not None:
            if answer[:1] != "T" or text == "s":  # a stop that was asked for twice
                break
        assert answer is not None, text
        assert not answer.startswith("E"), f"{text}: {answer}"
        return answer

    def word(self, address: int) -> int:
        return int.from_bytes(bytes.fromhex(self.ask(f"m{address:x},4")), "little")

    def set_word(self, address: int, value: int) -> None:
        assert self.ask(f"M{address:x},4:{value.to_bytes(4, 'little').hex()}") == "OK"


class XtensaMachine:
    """Runs a variant of an image; a link of the harness. Use as a context manager."""

    can_reset = False

    def __init__(self, name: str, image: BuildResult, folder: Path) -> None:
        self.name = name
        self._fifos = {place(UART[name]), place(SEND)}
        self._status = place(UART[name] + STATUS)
        self._fifo = place(UART[name])
        self._waiting = bytearray()
        self._sent = bytearray()
        self._arrived: int | None = None
        """A byte in the receive FIFO."""
        self._runs = False
        loader, program = folder / "loader.bin", folder / "program.bin"
        objcopy = image.target.tool("objcopy")
        call(objcopy, "-O", "binary", "-j", ".loader", image.elf, loader)
        call(objcopy, "-O", "binary", "-R", ".loader", image.elf, program)
        entry = symbol_addresses(image)["tfin_start"]
        with socket.create_server(("127.0.0.1", 0)) as server:
            words = ["qemu-system-xtensa", "-M", "sim", "-cpu", "lx106", "-S"]
            words += ["-display", "none", "-monitor", "none", "-serial", "none"]
            for file, at in ((loader, LOADER), (program, CODE), (program, CONSTANTS)):
                words += ["-device", f"loader,file={file},addr={at:#x},force-raw=on"]
            words += ["-device", f"loader,addr={entry:#x},cpu-num=0"]
            words += [
                "-chardev",
                f"socket,id=stub,fd={server.fileno()},server=on,wait=off,nodelay=on",
            ]
            self._process = subprocess.Popen(
                [*words, "-gdb", "chardev:stub"],
                stdin=subprocess.DEVNULL,
                pass_fds=(server.fileno(),),
            )
            self._link = socket.create_connection(server.getsockname(), START_S)
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stub = Stub(self._link)
        try:
            for address, value in DONE[name].items():
                self.stub.set_word(place(address), value)
            for address in self._fifos:
                assert self.stub.ask(f"Z4,{address:x},4") == "OK"
        except BaseException:
            self.close()
            raise

    def register(self, address: int) -> int:
        """What a register of the chip holds; the guest must be stopped."""
        self._stop()
        return self.stub.word(place(address))

    def _stop(self) -> None:
        if self._runs:
            self.stub.interrupt()
            self._stopped(START_S)

    def _stopped(self, timeout_s: float) -> bool:
        """Wait until the guest stops, and take what it has sent; False when it runs on."""
        packet = self.stub.receive(timeout_s)
        if packet is None:
            return False
        self._runs = False
        if "watch" in packet:
            at = int(packet.split("watch:")[1].split(";")[0], 16)
            # it stops before the access, and would for ever
            assert self.stub.ask(f"z4,{at:x},4") == "OK"
            self.stub.ask("s")
            assert self.stub.ask(f"Z4,{at:x},4") == "OK"
            value = self.stub.word(at)
            if value & ~0xFF == FROM_HOST:
                self._arrived = None
                self.stub.set_word(self._status, 0)
                self.stub.set_word(at, 0)
            else:
                self._sent.append(value & 0xFF)
                if self._arrived is not None and at == self._fifo:  # two FIFOs at one address
                    self.stub.set_word(at, FROM_HOST | self._arrived)
        return True

    def read(self, timeout_s: float) -> bytes:
        end = time.monotonic() + timeout_s
        while True:
            if not self._runs:
                if self._waiting and self._arrived is None:
                    self._arrived = self._waiting.pop(0)
                    self.stub.set_word(self._fifo, FROM_HOST | self._arrived)
                    self.stub.set_word(self._status, 1)
                self.stub.send("c")
                self._runs = True
            # what the guest sends comes without a pause
            left = end - time.monotonic()
            wait = 0.02 if self._sent and not self._waiting else left
            if not self._stopped(max(0.0, min(left, wait))):
                if self._waiting:
                    self._stop()
                    continue
                break
            if left <= 0:
                break
        data = bytes(self._sent)
        self._sent.clear()
        return data

    def write(self, data: bytes) -> None:
        self._waiting += data
        self._stop()

    def reopen(self, timeout_s: float) -> None:
        self._sent.clear()

    def reset(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._link.close()
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> XtensaMachine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
