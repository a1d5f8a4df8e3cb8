# SPDX-License-Identifier: Apache-2.0
"""Execute the notebooks again and write their outputs into them.

    python .ci/notebooks.py [NOTEBOOK ...]        all of notebooks/ if none is named

Needs the extra ``notebooks``. What is written: text, PNG pictures, the order of execution, and a
hash of the cells that were executed, by which the tests see outputs of other cells. Left out: what
goes to stderr, times and the kernel's version, so that the same results are the same file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tinyfin import files
from tinyfin.errors import InputError
from tinyfin.output_claims import claimed

ROOT = Path(__file__).resolve().parents[1]
CELL_DEADLINE_S = 900
LARGEST_BYTES = 500_000


def cells_sha256(cells: list[dict[str, Any]]) -> str:
    """SHA-256 over the sources of the code cells, in order."""
    digest = hashlib.sha256()
    for cell in cells:
        if cell["cell_type"] == "code":
            digest.update("".join(cell["source"]).encode() + b"\0")
    return digest.hexdigest()


def execute(path: Path) -> None:
    """Run all cells in an empty folder and write the notebook with what they gave."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    folder = Path(tempfile.mkdtemp(prefix="notebook-"))
    try:
        client = NotebookClient(
            notebook,
            timeout=CELL_DEADLINE_S,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined([kept for output in cell.outputs if (kept := _kept(output))])
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "tinyfin": {"cells_sha256": cells_sha256(notebook.cells)},
        }
    )
    text = nbformat.writes(notebook, indent=1, ensure_ascii=False) + "\n"
    if str(folder) in text or str(ROOT) in text:
        sys.exit(f"{path}: a path of this machine is in the outputs; print a relative one")
    if len(text.encode()) > LARGEST_BYTES:
        sys.exit(f"{path}: {len(text.encode())} bytes; draw smaller, at most {LARGEST_BYTES}")
    files.write(path, text)
    print(f"{path.relative_to(ROOT)}: {len(text.encode())} bytes")


def _kept(output: Any) -> Any:
    """Text and PNG; None for what is left out."""
    if output.output_type == "stream":
        return None if output.name == "stderr" else output
    output.data = {
        kind: value for kind, value in output.data.items() if kind in ("image/png", "text/plain")
    }
    if "image/png" in output.data:
        output.data.pop("text/plain", None)
    output.metadata = {}
    return output if output.data else None


def _joined(outputs: list[Any]) -> list[Any]:
    """Text that came in pieces, as one output."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def main() -> int:
    """Execute the notebooks that are named, or all."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    named = [Path(name).resolve() for name in sys.argv[1:]]
    try:
        for path in named or sorted((ROOT / "notebooks").glob("*.ipynb")):
            with claimed(path):
                execute(path)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
