# SPDX-License-Identifier: Apache-2.0
"""Anomaly models on payment transactions, from training to the payment terminal.

docs/python.md is the guide. The names below are imported when they are first used: importing this
package imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyfin.checking.workflow import check
    from tinyfin.config import load as load_config
    from tinyfin.data.transactions import Transactions
    from tinyfin.evaluation.workflow import evaluate
    from tinyfin.explanation.workflow import explain
    from tinyfin.hil.replay.workflow import replay_run as replay
    from tinyfin.monitoring.workflow import monitor
    from tinyfin.pack.container import open_pack
    from tinyfin.quantization.workflow import quantize
    from tinyfin.serving.host_context import HostContext
    from tinyfin.simulator import simulate
    from tinyfin.training.run_folder import open_run
    from tinyfin.training.scoring import score
    from tinyfin.training.workflow import train
    from tinyfin.twin import Twin

__all__ = [
    "HostContext",
    "Transactions",
    "Twin",
    "check",
    "evaluate",
    "explain",
    "load_config",
    "monitor",
    "open_pack",
    "open_run",
    "quantize",
    "replay",
    "score",
    "simulate",
    "train",
]
__version__ = "0.2.0"

_HOMES = {
    "HostContext": "tinyfin.serving.host_context:HostContext",
    "Transactions": "tinyfin.data.transactions:Transactions",
    "Twin": "tinyfin.twin:Twin",
    "check": "tinyfin.checking.workflow:check",
    "evaluate": "tinyfin.evaluation.workflow:evaluate",
    "explain": "tinyfin.explanation.workflow:explain",
    "load_config": "tinyfin.config:load",
    "monitor": "tinyfin.monitoring.workflow:monitor",
    "open_pack": "tinyfin.pack.container:open_pack",
    "open_run": "tinyfin.training.run_folder:open_run",
    "quantize": "tinyfin.quantization.workflow:quantize",
    "replay": "tinyfin.hil.replay.workflow:replay_run",
    "score": "tinyfin.training.scoring:score",
    "simulate": "tinyfin.simulator:simulate",
    "train": "tinyfin.training.workflow:train",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _HOMES[name].partition(":")
    found = globals()[name] = getattr(import_module(module), attribute)
    return found


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
