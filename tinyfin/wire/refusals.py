# SPDX-License-Identifier: Apache-2.0
"""What it means when a terminal does not open its own pack: who is at fault, and what to do."""

from __future__ import annotations

from tinyfin.errors import FlashError, MismatchError, TinyfinError

__all__ = ["refused_pack"]

_TRUST = (
    "the firmware trusts other keys than the pack's; build it with --public-key of the key that "
    "signed this pack"
)
_KERNELS = "the firmware was built for another network; build and flash it with this pack"
_CAUSES = {
    "TFIN_E_KEY": _TRUST,
    "TFIN_E_SIGNATURE": _TRUST,
    "TFIN_E_KERNEL": _KERNELS,
    "TFIN_E_LAYOUT": _KERNELS,
    "TFIN_E_ROLLBACK": "the terminal allows only newer packs; sign one with a higher counter",
    "TFIN_E_MEMORY": "the firmware gives the engine too little RAM for this pack; build it again",
}


def refused_pack(name: str, error: int, detail: str = "") -> TinyfinError:
    """The error to raise for a terminal whose ``tfin_open`` said ``error``.

    A wrong answer to a golden vector is a MismatchError: the pack is right, this core computes
    something else. Anything else is a FlashError. detail: what else is known of the cause.
    """
    from tinyfin.twin import error_name

    said = error_name(error)
    code = said.partition(" ")[0].rstrip(":")
    detail = f"; {detail}" if detail else ""
    if code == "TFIN_E_GOLDEN":
        return MismatchError(
            f"{name}: computes another answer to the pack's golden vectors ({said}{detail}): a "
            "kernel of the network is wrong on this core. Look at the kernel and the compiler's "
            "flags; a build with -DTFIN_KERNEL_PORTABLE shows whether it is the kernel"
        )
    cause = _CAUSES.get(code, "build and flash it again with this version of tinyfin")
    return FlashError(f"{name}: the terminal refused its own pack ({said}{detail}): {cause}")
