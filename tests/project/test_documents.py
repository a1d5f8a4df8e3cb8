# SPDX-License-Identifier: Apache-2.0
"""Documents: typed, plain, and read back only by a tinyfin that knows their format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field, ValidationError

from tinyfin.documents import Count, Document, Partial, Quantity, Reported
from tinyfin.errors import InputError


class Part(Reported):
    count: Count = None
    share: Quantity = None
    names: list[str] = Field(default_factory=list)


class Whole(Document):
    part: Part
    other: Partial = Partial()


def test_what_was_given_is_written_and_read_again(tmp_path: Path) -> None:
    whole = Whole(part=Part(count=np.int64(3), share=float("nan")))
    path = tmp_path / "whole.json"
    path.write_text(whole.text())
    assert json.loads(whole.text()) == {
        "format": 1,
        "part": {"count": 3, "share": None},
        "other": {},
    }
    assert Whole.read(path).text() == whole.text()


@pytest.mark.parametrize("value", [True, "3", 3.0, [3]])
def test_a_count_is_a_whole_number_or_not_reported(value: object) -> None:
    assert Part.model_validate({"count": 3}).count == 3
    assert Part.model_validate({"count": value}).count is None


def test_a_key_that_is_not_known_is_refused_and_kept_of_another_command() -> None:
    with pytest.raises(ValidationError, match="counts"):
        Part.model_validate({"counts": 3})
    assert Partial.model_validate({"counts": 3}).as_dict() == {"counts": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": 2, "part": {}}', "has format 2, and this tinyfin reads up to 1; read it with"),
        ('{"part": {}}', "has no format number"),
        ('{"format": true, "part": {}}', "has no format number"),
        ("[]", "has no format number"),
        ("{", "is not JSON"),
        ('{"format": 1}', "part: field required"),
        ('{"format": 1, "part": {"names": [1]}}', "part.names.0: input should be a valid string"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"format": 1, "part": {}}')
    assert Whole.read(path).part == Part()
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        Whole.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Whole.read(tmp_path / "gone.json")
