# SPDX-License-Identifier: Apache-2.0
"""Python packages that only some commands need: asked for before the work begins."""

from __future__ import annotations

import importlib.util
import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress

from tinyfin.errors import ToolError

__all__ = ["EXTRAS", "extra_of", "install_command", "missing", "require"]

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "train": (
        "tensorflow",
        "keras",
        "sklearn",
        "tflite",
        "tflite_micro",
        "ai_edge_litert",
        "xgboost",
    ),
    "build": ("platformio", "SCons"),
    "espressif": ("esptool",),
    "hsm": ("pkcs11",),
    "onnx": ("onnx",),
    "skops": ("skops",),
    "captures": ("iso8583",),
    "serve": ("prometheus_client", "starlette", "uvicorn"),
    "track": ("mlflow", "sqlalchemy", "alembic"),
    "trace": ("opentelemetry",),
    "explain": ("shap",),
    "fleet": ("confluent_kafka", "duckdb", "paho", "scipy", "sqlalchemy", "starlette", "uvicorn"),
}
"""Modules that come with each extra of the package."""


def require(modules: Iterable[str], why: str) -> None:
    """ToolError, naming all that is missing and why it is needed, unless ``modules`` are there."""
    absent = [name for name in dict.fromkeys(modules) if importlib.util.find_spec(name) is None]
    if absent:
        raise missing(*absent, why=why)


def missing(*modules: str, why: str = "") -> ToolError:
    """The error that says how to get modules that are not installed."""
    extras = ",".join(dict.fromkeys(filter(None, map(extra_of, modules))))
    several = len(modules) > 1
    return ToolError(
        f"the Python package{'s' if several else ''} {', '.join(modules)} "
        f"{'are' if several else 'is'} not installed{f', needed {why}' if why else ''}; "
        f"get {'them' if several else 'it'} with: {install_command(extras)}"
    )


def install_command(extra: str) -> str:
    """How to get an extra of the tinyfin that runs, from where that one was installed (PEP 610)."""
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    what, flag = "tinyfin", ""
    with suppress(metadata.PackageNotFoundError, ValueError):
        origin = json.loads(metadata.distribution("tinyfin").read_text("direct_url.json") or "{}")
        url = urlsplit(str(origin.get("url", "")))
        if url.scheme == "file":
            what = unquote(url.path)
            flag = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return "pip install " + flag + shlex.quote(f"{what}[{extra}]" if extra else what)


def extra_of(module: str) -> str:
    """The extra that brings a module; empty for others."""
    return next((extra for extra, names in EXTRAS.items() if module in names), "")
