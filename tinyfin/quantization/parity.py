# SPDX-License-Identifier: Apache-2.0
"""How far each runtime's answers are from TFLM's, byte by byte.

TFLM (double rounding, multipliers in double precision) is the contract: a difference of the plan is
an error. The other interpreters round differently; their distance is reported, never followed.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import InputError, ModelError, ToolError
from tinyfin.optional_packages import missing
from tinyfin.progress import shown
from tinyfin.results.parity import Comparison, Distance, MissingRuntime

__all__ = ["Native", "distance", "litert", "other_interpreter", "parity", "tflm"]

Codes = NDArray[np.int8]
#: runs a compiled plan: int8[rows, inputs] to int8[rows, outputs]
Native = Callable[[Codes], Codes]

_RUNTIME = """
import importlib
import sys
import numpy as np
found = None
for name in ("tflite_runtime", "ai_edge_litert", "tensorflow.lite.python"):
    try:
        found = importlib.import_module(name + ".interpreter")
        break
    except ImportError:
        pass
if found is None:
    sys.exit("no tflite_runtime, ai_edge_litert or tensorflow there")
package = importlib.import_module(name.split(".")[0])
Interpreter = found.Interpreter
model, source, target = sys.argv[1:]
interpreter = Interpreter(model)
detail = interpreter.get_input_details()[0]
x = np.load(source)
rows = []
interpreter.allocate_tensors()
for row in x:
    interpreter.set_tensor(detail["index"], row.reshape(detail["shape"]))
    interpreter.invoke()
    rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).reshape(-1))
np.save(target, np.array(rows))
print(name.split(".")[0].replace("_", "-"), getattr(package, "__version__", ""))
"""


def tflm(model: bytes, inputs: Codes, *, arena_bytes: int = 1 << 20) -> Codes:
    """TFLM's answers, int8[rows, outputs]. Raises ToolError without ``tflite-micro``, ModelError
    when its interpreter refuses the model."""
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise ToolError(
            "tflite-micro is missing: it is the reference for every byte; "
            "pip install --pre tflite-micro"
        ) from error
    try:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
        shape = interpreter.get_input_details(0)["shape"]
        rows = []
        for row in shown("comparing with TFLM", inputs):
            interpreter.set_input(row.reshape(shape), 0)
            interpreter.invoke()
            rows.append(np.array(interpreter.get_output(0), np.int8).reshape(-1))
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"TFLM refuses this model: {error}; convert it to full int8") from error
    return np.array(rows, np.int8)


def litert(model: bytes, inputs: Codes, *, reference: bool) -> Codes:
    """ai-edge-litert's answers: its default kernels (XNNPACK), or the built-in reference ones."""
    try:
        from ai_edge_litert import interpreter as litert_interpreter
    except ImportError as error:
        raise missing("ai_edge_litert") from error
    kind = litert_interpreter.OpResolverType
    try:
        interpreter = litert_interpreter.Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=kind.BUILTIN_REF if reference else kind.AUTO,
        )
        detail = interpreter.get_input_details()[0]
        interpreter.allocate_tensors()
        rows = []
        for row in shown("comparing with LiteRT", inputs):
            interpreter.set_tensor(detail["index"], row.reshape(detail["shape"]))
            interpreter.invoke()
            out = interpreter.get_output_details()[0]["index"]
            rows.append(interpreter.get_tensor(out).reshape(-1))
    except (RuntimeError, ValueError) as error:  # it is only reported: TFLM is what counts
        raise ToolError(f"ai-edge-litert refuses this model: {error}") from error
    return np.array(rows, np.int8)


def other_interpreter(
    python: Path, model: Path, inputs: Codes, *, timeout_s: float = 120.0
) -> tuple[Codes, str]:
    """Answers of the TFLite interpreter that another Python has (tflite-runtime, ai-edge-litert or
    TensorFlow), int8[rows, outputs], and its name and version. Raises ToolError when it has none,
    or does not run."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "x.npy", Path(folder) / "y.npy"
        np.save(source, inputs)
        try:
            done = subprocess.run(
                [str(python), "-c", _RUNTIME, str(model), str(source), str(target)],
                check=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except (OSError, subprocess.SubprocessError) as error:
            tail = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
            raise ToolError(
                f"{python}: no TFLite interpreter runs there ({' '.join(tail)}); tflite-runtime "
                "goes into a venv of its own: pip install tflite-runtime 'numpy<2'"
            ) from error
        name = done.stdout.strip().splitlines()[-1].strip()
        return np.asarray(np.load(target), np.int8), name


def distance(answer: Codes, expected: Codes) -> Distance:
    """Bytes that differ, and by how much. Raises ModelError for another shape."""
    if answer.shape != expected.shape:
        raise ModelError(f"answers of shape {answer.shape}, TFLM's are {expected.shape}")
    delta = np.abs(answer.astype(np.int16) - expected.astype(np.int16))
    return Distance(
        differing_bytes=int(np.count_nonzero(delta)), max_abs_difference=int(delta.max())
    )


def parity(
    tflite_path: str | Path,
    inputs: Codes,
    native: Native | None = None,
    *,
    interpreter: Path | None = None,
) -> Comparison:
    """Compares runtimes with TFLM on int8[rows, inputs].

    ``native`` runs the plan; ``interpreter`` is a Python whose TFLite interpreter is compared too
    (:func:`other_interpreter`). Returns ``rows``, ``bytes`` and per runtime (``plan``,
    ``litert_auto``, ``litert_reference``, ``interpreter``; those that were asked for and are
    installed) the ``differing_bytes`` and ``max_abs_difference``, of ``interpreter`` the ``name``
    too; ``missing`` lists the runtimes that are not installed, or refuse the model, and why.
    """
    path = Path(tflite_path)
    try:
        model = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; check the path") from error
    codes = np.ascontiguousarray(inputs)
    if codes.dtype != np.int8 or codes.ndim != 2 or len(codes) == 0:
        raise InputError(
            f"parity inputs: {codes.dtype}{list(codes.shape)}; give int8[rows, inputs]"
        )
    expected = tflm(model, codes)
    found = Comparison(reference="TFLM", rows=len(codes), bytes=int(expected.size), missing=[])
    if native is not None:
        found.plan = distance(native(codes).reshape(expected.shape), expected)

    def of_litert(name: str, reference: bool) -> Distance | None:
        try:
            return distance(litert(model, codes, reference=reference), expected)
        except ToolError as error:
            found.missing.append(MissingRuntime(runtime=name, why=str(error)))
            return None

    if (auto := of_litert("litert_auto", False)) is not None:
        found.litert_auto = auto
    if (built_in := of_litert("litert_reference", True)) is not None:
        found.litert_reference = built_in
    if interpreter is not None:
        answers, called = other_interpreter(interpreter, path, codes)
        found.interpreter = distance(answers, expected)
        found.interpreter.name = called
    return found
