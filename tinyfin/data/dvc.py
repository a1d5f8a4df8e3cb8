# SPDX-License-Identifier: Apache-2.0
"""Files that DVC (dvc.org) tracks: what a `.dvc` file or a `dvc.lock` says of them. DVC itself is
not needed. Source of the formats: dvc.org/doc/user-guide/project-structure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tinyfin.errors import InputError

__all__ = ["tracked"]


def tracked(path: Path, md5: str) -> tuple[str, str, bool | None] | None:
    """The file that says what DVC has of ``path``, the MD5 there, and whether the content, whose
    MD5 is ``md5``, is that. None as the last: it cannot be told without DVC, as for a file of a
    tracked folder or the MD5 of a DVC before 3. None: DVC does not track it. Raises InputError."""
    real = Path(os.path.abspath(path))
    for folder in real.parents:
        inner = real.relative_to(folder)
        places = [folder / f"{inner.parts[0]}.dvc", folder / "dvc.lock"]
        for place in places:
            for out in _outs(place) if place.is_file() else ():
                said, known = Path(os.path.normpath(str(out.get("path")))), str(out.get("md5"))
                if said == inner:
                    old = out.get("hash") != "md5" and md5 != known
                    return str(place), known, None if old else md5 == known
                if said in inner.parents and known.endswith(".dir"):
                    return str(place), known, None
        if (folder / ".dvc").is_dir():
            break
    return None


def _outs(place: Path) -> Iterator[Mapping[str, object]]:
    import yaml

    try:
        text = place.read_text(encoding="utf-8")
        found = yaml.load(text, Loader=yaml.BaseLoader)  # all is text: an MD5 may be all digits
        for part in found.get("stages", {"": found}).values():
            outs = part.get("outs", [])
            if not isinstance(outs, list):
                raise TypeError("outs is no list")
            yield from (out for out in outs if "path" in out and "md5" in out)
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"{place}: is not as DVC writes it: {why}; run `dvc status`") from error
