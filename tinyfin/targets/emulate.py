# SPDX-License-Identifier: Apache-2.0
"""Boot an image in QEMU, its serial port on a TCP socket of 127.0.0.1."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from tinyfin.errors import BenchError, TargetError, ToolError
from tinyfin.targets.catalogue import EmulatorSpec, Target

__all__ = ["Emulator", "boot"]

START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 5.0
_WAITING = "QEMU waiting for connection"


def _is_stopped(pid: int) -> bool:
    """Whether the system says that a process is stopped (state T)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2][1] == "T"
    return False


def _flash_file(image: Path, size: int) -> IO[bytes]:
    """The content of a flash of that size: an image, then what is erased."""
    content = image.read_bytes()
    if len(content) > size:
        raise TargetError(f"{image}: {len(content)} B are more than the flash of {size} B")
    file = tempfile.NamedTemporaryFile(suffix=".flash")  # noqa: SIM115  closed by stop()
    file.write(content.ljust(size, b"\xff"))
    file.flush()
    return file


class Emulator:
    """A target running an image; use as a context manager, which ends it.

    The serial line is a TCP socket of 127.0.0.1 at :attr:`url`, listening before QEMU starts. The
    guest does not run until somebody connects, so nothing that it sends is lost. One connection at
    a time; a later one finds the guest where the earlier one left it. With ``icount`` ticks are
    instructions (see :class:`tinyfin.targets.catalogue.EmulatorSpec`); without, the guest runs in
    host time. ``seed`` (32 bits, random when None) is what the boot nonce is made from. A machine
    that boots from a flash file gets one of its own, kept over :meth:`restart`; it takes no seed,
    because its chip has a random number generator. ``kept`` is the file that
    holds the machine's flash where the machine has one beside its image, made when it is not there:
    it outlives the emulator. Without one, that flash is empty at every start.

    Raises ToolError when QEMU is missing, TargetError when it does not start.
    """

    def __init__(
        self,
        target: Target,
        elf: Path,
        icount: bool = True,
        *,
        seed: int | None = None,
        kept: Path | None = None,
        extra: tuple[str, ...] = (),
    ) -> None:
        self.target = target
        self.elf = Path(elf)
        self.icount = icount
        self.seed = secrets.randbits(32) if seed is None else seed
        self.kept = kept
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._flash: IO[bytes] | None = None
        self._port = 0

    def command(self, listener_fd: int) -> list[str]:
        """QEMU's command line; ``listener_fd`` is an inherited, listening TCP socket."""
        spec = self._spec()
        words = [*spec.command, "-display", "none", "-monitor", "none"]
        if self._flash is not None:
            file = self._flash.name.replace(",", ",,")
            words += ["-nic", "none", "-drive", f"file={file},if=mtd,format=raw"]
        else:
            if self.kept is None or not spec.kept_loads_image:
                words += ["-kernel", str(self.elf)]
            # a word that differs from boot to boot, where startup takes material for the nonce
            words += [
                "-device",
                f"loader,addr={self.target.ram_origin:#x},data={self.seed:#x},data-len=4",
            ]
        if self.icount:
            words += ["-icount", f"shift={spec.icount_shift}"]
        if self.kept is not None:
            files = {"{file}": self.kept, "{image}": self.elf}
            for word in spec.kept:
                for mark, path in files.items():
                    word = word.replace(mark, str(path).replace(",", ",,"))
                words.append(word)
        words += ["-chardev", f"socket,id=uart,fd={listener_fd},server=on,wait=on"]
        return [*words, "-serial", "chardev:uart", *self._extra]

    def _spec(self) -> EmulatorSpec:
        if self.target.emulator is None:
            raise TargetError(f"{self.target.name}: cannot be emulated; give --port of the board")
        return self.target.emulator

    def start(self) -> Emulator:
        """Start QEMU; the guest boots when somebody connects to :attr:`url`."""
        program = self._spec().command[0]
        if not self.elf.is_file():
            raise TargetError(f"{self.elf}: no such image; build it with `tinyfin build`")
        if why := self._spec().why_missing():
            raise ToolError(f"{self.target.name}: {why}; `tinyfin doctor` says how to install it")
        if self._flash is None and (size := self._spec().flash_file_bytes) is not None:
            self._flash = _flash_file(self.elf.with_suffix(".bin"), size)
        if self.kept is not None and (size := self._spec().kept_bytes) is not None:
            with self.kept.open("ab") as file:
                file.truncate(size)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            self._port = listener.getsockname()[1]
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
            self._process = subprocess.Popen(
                self.command(listener.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(listener.fileno(),),
            )
        try:
            self._wait_for_qemu(program)
        except BaseException:  # an interrupt too: no context manager would end QEMU yet
            self.stop()
            raise
        return self

    def _wait_for_qemu(self, program: str) -> None:
        """QEMU says that it waits for a connection, or ends with a message."""
        deadline = time.monotonic() + START_DEADLINE_S
        while "waiting for connection" not in self.output():
            self.check()
            if time.monotonic() > deadline:
                raise TargetError(
                    f"{self.target.name}: {program} did not start within {START_DEADLINE_S:.0f} s"
                )
            time.sleep(0.01)

    @property
    def url(self) -> str:
        """Where the serial line is, as pyserial and ``--port`` spell it."""
        return f"socket://127.0.0.1:{self.address[1]}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and TCP port of the serial line."""
        if self._process is None:
            raise TargetError(f"{self.target.name}: the emulator is not running")
        return "127.0.0.1", self._port

    def connect(self, timeout_s: float = START_DEADLINE_S) -> socket.socket:
        """A new connection to the serial line; ``timeout_s`` holds for its later calls too."""
        self.check()
        try:
            link = socket.create_connection(self.address, timeout_s)
        except OSError as error:
            self.check()
            raise TargetError(f"{self.target.name}: {self.url}: {error}") from error
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link

    def check(self) -> None:
        """TargetError with QEMU's own words when it has ended, BenchError when it is stopped."""
        if self._process is not None and self._process.poll() is not None:
            said = [line for line in self.output().splitlines() if line and _WAITING not in line]
            raise TargetError(
                f"{self.target.name}: the emulator ended with code {self._process.returncode}: "
                f"{' | '.join(said) or 'no message'} (QEMU 7.2 and newer are known to work, "
                "`tinyfin doctor` shows the version)"
            )
        if self._process is not None and _is_stopped(self._process.pid):
            raise BenchError(
                f"{self.target.name}: the emulator, process {self._process.pid}, is stopped by a "
                "signal or a debugger; continue it with `kill -CONT`, or end it, then run again"
            )

    @property
    def pid(self) -> int:
        """Process id of QEMU."""
        if self._process is None:
            raise TargetError(f"{self.target.name}: the emulator is not running")
        return self._process.pid

    def output(self) -> str:
        """What QEMU itself said so far (not the guest), at most the last 4,000 characters."""
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-4000:]

    def wait(self, timeout_s: float) -> int | None:
        """The guest's exit code, or None when it still runs after ``timeout_s``."""
        if self._process is None:
            raise TargetError(f"{self.target.name}: the emulator is not running")
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def restart(self) -> tuple[str, int]:
        """Cut the power and start again, with another boot nonce; returns the new address."""
        self._end()
        self.seed = (self.seed * 0x9E3779B1 + 0x85EBCA6B) & 0xFFFFFFFF
        return self.start().address

    def stop(self) -> None:
        """End this emulator, and nothing else. May be called again."""
        self._end()
        if self._flash is not None:
            self._flash.close()
            self._flash = None

    def _end(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                if self.wait(STOP_DEADLINE_S) is None:
                    self._process.kill()
                    self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def boot(
    target: Target, image: Path, *, icount: bool = True, emulator: str | None = None
) -> Emulator:
    """A target running an image; not started yet. Flash that outlives the emulator is in
    ``flash.bin`` next to the image.

    emulator: one of :data:`tinyfin.targets.catalogue.EMULATORS`; QEMU if None
    """
    if emulator == "renode":
        from tinyfin.targets.renode import Renode

        return Renode(target, image)
    kept = image.parent / "flash.bin" if target.emulator and target.emulator.kept else None
    return Emulator(target, image, icount, kept=kept)
