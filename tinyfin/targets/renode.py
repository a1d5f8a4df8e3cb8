# SPDX-License-Identifier: Apache-2.0
"""Boot an image in Renode, its serial port on a TCP socket of 127.0.0.1.

Renode is started without a window and told what to do through its monitor, a telnet port; that
connection stays open, because Renode 1.11 ends with it. The commands are those of
``firmware/platform/renode/terminal.resc``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tinyfin import paths
from tinyfin.command_templates import filled_in
from tinyfin.errors import TargetError, ToolError
from tinyfin.targets import system
from tinyfin.targets.catalogue import RenodeSpec, Target
from tinyfin.targets.emulate import Emulator

__all__ = ["Renode", "require"]

PROGRAM = "renode"
START_DEADLINE_S = 90.0
"""Renode is a .NET program: it starts within seconds, on a busy machine within a minute."""
ANSWER_DEADLINE_S = 30.0
STOP_DEADLINE_S = 10.0
_TELNET = re.compile(rb"\xff[\xfb-\xfe].|\xff.|\x1b\[[0-9;?]*[A-Za-z]|\r|\0", re.DOTALL)
_REFUSED = re.compile(
    r"error|exception|could not|no such|not found|failed|parameters did not", re.I
)


def require(target: Target) -> None:
    """TargetError when no description of ``target`` is known, ToolError without Renode."""
    _spec(target)
    if shutil.which(PROGRAM) is None:
        [program] = [one for one in system.PROGRAMS if one.name == PROGRAM]
        raise ToolError(f"{PROGRAM} is not on PATH; {system.install_command([program])}")


def _spec(target: Target) -> RenodeSpec:
    if target.renode is None:
        raise TargetError(
            f"{target.name}: has no description for Renode; give another target, or "
            "tinyfin.renode in its board file (docs/boards.md)"
        )
    return target.renode


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Renode(Emulator):
    """As :class:`Emulator`, but in Renode: the guest runs as soon as Renode has started.

    Instructions are counted as a whole (:meth:`executed`), not between two readings of the guest's
    clock.
    """

    _monitor: socket.socket | None = None
    _told = 0

    def __init__(self, target: Target, elf: Path, *, seed: int | None = None) -> None:
        super().__init__(target, elf, icount=False, seed=seed)

    def script(self, port: int) -> list[str]:
        """The commands for the monitor, in their order."""
        spec = _spec(self.target)
        values = {
            "platform": str(spec.platform),
            "uart": spec.uart,
            "mips": str(spec.mips),
            "port": str(port),
            "elf": str(self.elf.resolve()),
            "seed_at": f"{self.target.ram_origin:#x}",
            "seed": f"{self.seed:#x}",
        }
        for name in ("platform", "elf"):
            if re.search(r"\s", values[name]):
                raise TargetError(
                    f"{values[name]}: Renode takes no path with a space in it; move it, or set "
                    "TINYFIN_CACHE to a folder without one"
                )
        text = (paths.firmware_dir() / "platform" / "renode" / "terminal.resc").read_text("utf-8")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return [" ".join(filled_in(line.split(" "), values)) for line in lines]

    def start(self) -> Renode:
        """Start Renode and the guest. Raises ToolError, or TargetError with Renode's words."""
        require(self.target)
        if not self.elf.is_file():
            raise TargetError(f"{self.elf}: no such image; build it with `tinyfin build`")
        self._port, monitor_port = _free_port(), _free_port()
        commands = self.script(self._port)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        self._process = subprocess.Popen(
            [PROGRAM, "--disable-xwt", "--plain", "--port", str(monitor_port)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # it may be a script that starts Mono
        )
        try:
            self._reach_monitor(monitor_port)
            for command in commands:
                self.tell(command)
        except BaseException:  # an interrupt too: no context manager would end Renode yet
            self.stop()
            raise
        return self

    def _reach_monitor(self, port: int) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while self._monitor is None:
            self.check()
            try:
                self._monitor = socket.create_connection(("127.0.0.1", port), 1.0)
            except OSError:
                if time.monotonic() > deadline:
                    raise TargetError(
                        f"{self.target.name}: {PROGRAM} opened no monitor within "
                        f"{START_DEADLINE_S:.0f} s; it said: {self.output()[-400:] or 'nothing'}"
                    ) from None
                time.sleep(0.1)
        # the telnet negotiation swallows the first line
        self._monitor.sendall(b"\n")
        self._wait_for(self._mark(), deadline - time.monotonic())

    def tell(self, command: str) -> str:
        """Give the monitor a command; what it answers. TargetError when that is an error."""
        assert self._monitor is not None
        self._monitor.sendall(command.encode() + b"\n")
        said = self._wait_for(self._mark(), ANSWER_DEADLINE_S)
        answer = said.split(command, 1)[-1] if command in said else said
        if _REFUSED.search(answer):
            raise TargetError(
                f"{self.target.name}: {PROGRAM} refuses `{command}`: {' '.join(answer.split())} "
                "(`tinyfin doctor` shows the version; 1.11 and newer have these commands)"
            )
        return answer

    def _mark(self) -> str:
        """Ask for a line that comes after all answers so far."""
        assert self._monitor is not None
        self._told += 1
        mark = f"told{self._told}"
        self._monitor.sendall(f'echo "{mark}"\n'.encode())
        return mark

    def _wait_for(self, mark: str, seconds: float) -> str:
        """What the monitor writes until a line that is the mark and nothing else."""
        assert self._monitor is not None
        line = re.compile(rf"^{mark}\s*$", re.MULTILINE)
        end = time.monotonic() + seconds
        seen = b""
        while not (found := line.search(text := _plain(seen))):
            left = end - time.monotonic()
            if left <= 0:
                raise TargetError(
                    f"{self.target.name}: {PROGRAM} did not answer within {seconds:.0f} s; it "
                    f"said: {' '.join(text.split())[-400:] or 'nothing'}"
                )
            self._monitor.settimeout(min(left, 1.0))
            try:
                more = self._monitor.recv(4096)
            except TimeoutError:
                self.check()
                continue
            except OSError:
                more = b""
            if not more:
                self.wait(STOP_DEADLINE_S)
                self.check()
                raise TargetError(f"{self.target.name}: {PROGRAM} closed its monitor")
            seen += more
        return "\n".join(
            row for row in text[: found.start()].splitlines() if f'echo "{mark}"' not in row
        )

    def executed(self) -> int:
        """Instructions since the start."""
        return self._number("sysbus.cpu ExecutedInstructions")

    def _number(self, command: str) -> int:
        answer = self.tell(command)
        found = re.search(r"^\s*(0x[0-9A-Fa-f]+|\d+)\s*$", answer, re.MULTILINE)
        if found is None:
            raise TargetError(f"{self.target.name}: `{command}`: no number in {answer!r:.200}")
        return int(found[1], 0)

    def check(self) -> None:
        """TargetError with Renode's own words when it has ended, BenchError when it is stopped."""
        if self._process is not None and self._process.poll() is not None:
            raise TargetError(
                f"{self.target.name}: {PROGRAM} ended with code {self._process.returncode}: "
                f"{' | '.join(self.output().splitlines()[-8:]) or 'no message'}"
            )
        super().check()

    def restart(self) -> tuple[str, int]:
        """Cut the power and start again, with another boot nonce; returns the new address."""
        self.stop()
        self.seed = (self.seed * 0x9E3779B1 + 0x85EBCA6B) & 0xFFFFFFFF
        return self.start().address

    def stop(self) -> None:
        """End this Renode and what it has started. May be called again."""
        if self._monitor is not None:
            with contextlib.suppress(OSError):
                self._monitor.sendall(b"quit\n")
                self._monitor.settimeout(1.0)
                self._monitor.shutdown(socket.SHUT_WR)
            self._monitor.close()
            self._monitor = None
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1.0 if number == signal.SIGTERM else STOP_DEADLINE_S)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None


def _plain(data: bytes) -> str:
    """What the monitor wrote, without telnet's and the terminal's control bytes."""
    return _TELNET.sub(b"", data).decode(errors="replace")
