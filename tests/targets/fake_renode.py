# SPDX-License-Identifier: Apache-2.0
"""Stands in for Renode: its monitor on a telnet port, with what is odd about it, and QEMU behind
the socket of the serial line. FAKE_RENODE says what goes wrong; the commands go to a file."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time

QEMU = ["qemu-system-arm", "-M", "netduinoplus2", "-display", "none", "-monitor", "none"]
FAULT = os.environ.get("FAKE_RENODE", "")


def main() -> None:
    port = int(sys.argv[sys.argv.index("--port") + 1])
    assert "--disable-xwt" in sys.argv
    if FAULT == "dies":
        print("The GUI could not be started")
        raise SystemExit(3)
    if FAULT == "no monitor":
        time.sleep(60)
    listener = socket.create_server(("127.0.0.1", port))
    link = listener.accept()[0]
    link.sendall(b"\xff\xfd\x00\xff\xfb\x01\xff\xfb\x03\x1b[33;1m(monitor) \x1b[0m")
    lines = link.makefile("rb")
    lines.readline()  # the negotiation swallows the first line
    state: dict[str, str] = {}
    for number, raw in enumerate(lines):
        line = raw.decode().strip()
        with open(os.environ["FAKE_RENODE_LOG"], "a") as log:
            log.write(line + "\n")
        if line == "quit":
            return
        if FAULT == "silent" and "LoadELF" in line:
            time.sleep(60)
        if FAULT == "closes" and "LoadELF" in line:
            link.close()
            print("Fatal: out of memory", flush=True)
            os._exit(1)
        answer = obey(line, state, number)
        link.sendall(f"\x1b[33;1m(tinyfin) \x1b[0m{line}\r\n{answer}\x1b[33;1m(tinyfin) ".encode())


def obey(line: str, state: dict[str, str], number: int) -> str:
    if found := re.fullmatch(r'echo "(.*)"', line):
        return found[1] + "\r\n"
    if found := re.fullmatch(r'emulation CreateServerSocketTerminal (\d+) "line" false', line):
        state["port"] = found[1]
    elif found := re.fullmatch(r"machine LoadPlatformDescription @(\S+)", line):
        if FAULT == "refuses":
            return "\x1b[31mError E11: Could not resolve type 'UART.STM32_UART'.\r\n"
        assert os.path.isfile(found[1])
    elif found := re.fullmatch(r"sysbus LoadELF @(\S+)", line):
        state["elf"] = found[1]
    elif line == "sysbus.cpu ExecutedInstructions":
        return f"0x{number * 4096:016X}\r\n"
    elif line == "start":
        where = f"tcp:127.0.0.1:{state['port']},server=on,wait=off"
        subprocess.Popen([*QEMU, "-kernel", state["elf"], "-serial", where])
        end = time.monotonic() + 10
        while time.monotonic() < end:  # QEMU takes a connection as the host's own: look without one
            with open("/proc/net/tcp") as table:
                if f":{int(state['port']):04X} 00000000:0000 0A" in table.read():
                    break
            time.sleep(0.01)
        return "Starting emulation...\r\n"
    return ""


main()
