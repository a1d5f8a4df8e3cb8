# SPDX-License-Identifier: Apache-2.0
"""A pack comes in, is approved and is released as what it is, by a key that the policy trusts: not
one that a person with a key of the registry makes up."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import packs
from tests.support.registries import (
    ADDED,
    RELEASE,
    START_S,
    Contents,
    contents,
    key,
    policy,
    registry,
    release_pack,
    said,
)
from tinyfin import paths
from tinyfin.errors import InputError, PackError, TinyfinError
from tinyfin.formats import LAYOUTS
from tinyfin.pack.container import parse_pack, sign_with
from tinyfin.pack.layouts import name_of, repack_pack
from tinyfin.registry import contents as contents_module
from tinyfin.registry import registry as registry_module
from tinyfin.registry.events import Event, Subject
from tinyfin.registry.registry import Finding, Registry
from tinyfin.registry.store import FACTS, PACK, encoded, media_type

REFERENCE = paths.project_dir() / "models" / "payment" / "model.tfpack"


def made_up(layouts: dict[str, str] | None = None, **files: bytes) -> Contents:
    """What somebody says who does not use `gather`: the first file is the pack."""
    named = {f"{name}.tfpack": data for name, data in files.items()}
    return said(tuple(named.items()), layouts)


def forced(made: Registry, held: Contents, **detail: object) -> Event:
    """Add it as somebody does who writes the log with a program of their own."""
    with made._writing():
        layers = [made.store.put(data, media_type(name), name) for name, data in held.files]
        config = made.store.put(encoded(held.facts.as_dict()), FACTS)
        pack = held.facts.pack_id
        annotations = {"tinyfin.pack": pack, "tinyfin.model": held.facts.model_id}
        manifest = made.store.put_manifest(PACK, config, layers, annotations)["digest"]
        said = {**held.detail.as_dict(), **detail}
        about = Subject(manifest=manifest, pack=pack)
        return made.log.append("added", about, said, key("a"), now_s=START_S + 60)


@cache
def foreign() -> bytes:
    return packs.build(packs.small(), key=key("mallory"))


@cache
def with_layouts() -> tuple[bytes, dict[str, bytes]]:
    """The reference pack signed for release, and its layouts."""
    pack = sign_with(parse_pack(REFERENCE.read_bytes()), RELEASE)
    own = name_of(parse_pack(pack))
    return pack, {name: repack_pack(pack, name, key=RELEASE) for name in LAYOUTS if name != own}


def broken(data: bytes) -> bytes:
    """The signature, at the end of the header, is another one."""
    return data[:160] + bytes([data[160] ^ 255]) + data[161:]


def pack_id(data: bytes) -> str:
    return parse_pack(data).pack_id.hex()


def refused() -> dict[str, tuple[Contents, str]]:
    """What is wrong, by a name, and how it is refused."""
    good, (whole, layouts) = release_pack(), with_layouts()
    name, other = next(iter(layouts.items()))
    resigned = repack_pack(
        sign_with(parse_pack(whole, keys=[RELEASE.public]), key("m")), name, key=key("m")
    )
    lie = dataclasses.replace(
        made_up(model=good),
        detail=made_up(model=good).detail.model_copy(update={"parent": "0" * 32}),
    )
    return {
        "a pack of a key that nobody trusts": (made_up(model=foreign()), "none of the policy's"),
        "a pack of the development key": (
            made_up(model=REFERENCE.read_bytes()),
            "signed by the development key",
        ),
        "another pack as a layout": (
            made_up({"wide": pack_id(foreign())}, model=good, wide=foreign()),
            "none of the policy's",
        ),
        "another trusted pack as a layout": (
            made_up({name: pack_id(other)}, model=good, other=other),
            "in another layout",
        ),
        "a layout by another key": (
            made_up({name: pack_id(resigned)}, model=whole, other=resigned),
            "none of the policy's",
        ),
        "a layout that is not said": (
            made_up(model=whole, other=other),
            "differs from what is recorded",
        ),
        "a layout that is not there": (
            made_up({name: pack_id(other)}, model=whole),
            "differs from what is recorded",
        ),
        "a layout of another name": (
            made_up({"wide": pack_id(other)}, model=whole, other=other),
            "differs from what is recorded",
        ),
        "a layout twice": (
            made_up({name: pack_id(other)}, model=whole, other=other, again=other),
            "in another layout",
        ),
        "the pack as its own layout": (
            made_up({name_of(parse_pack(whole)): pack_id(whole)}, model=whole, other=whole),
            "in another layout",
        ),
        "bytes behind the pack": (made_up(model=good + b"more"), "4 bytes behind"),
        "another parent": (lie, "differs from what is recorded"),
    }


KNOWN_TO_THE_LOG = {
    "a pack of a key that nobody trusts": "none of the policy's pack_keys",
    "a pack of the development key": "signed by the development key",
    "the pack as its own layout": "twice",
}
"""What its rules refuse, without a look at the content."""


@pytest.mark.parametrize("what", refused())
def test_what_is_not_as_it_should_be_is_refused_and_named(what: str, tmp_path: Path) -> None:
    held, why = refused()[what]
    made = registry(tmp_path / "r")
    if (
        why != "differs from what is recorded"
    ):  # what is said of a pack is never taken from whoever adds it
        with pytest.raises(PackError, match=why):
            made.add(held.files, key("a"), now_s=START_S + 60)
        assert len(made.events()) == 1
    # whoever has a key adds it with a program of their own
    if what in KNOWN_TO_THE_LOG:
        with pytest.raises(InputError, match=KNOWN_TO_THE_LOG[what]):
            forced(made, held)
        return
    forced(made, held)
    pack = held.facts.pack_id
    made.validate(pack, {}, key("b"), now_s=START_S + 120)
    with pytest.raises(PackError, match=why):
        made.record("approved", pack, {}, key("b"), now_s=START_S + 180)
    (finding,) = made.verify()[1]
    assert (finding.verdict, finding.number) == ("CORRUPT", 2)
    assert why in finding.why


def test_a_broken_signature_and_one_of_a_key_of_the_same_id_are_known(tmp_path: Path) -> None:
    made = registry(tmp_path / "r")
    good = made_up(model=release_pack())
    bad = dataclasses.replace(good, files=(("model.tfpack", broken(release_pack())),))
    with pytest.raises(PackError, match="signature does not verify"):
        made.add(bad.files, key("a"), now_s=START_S + 60)
    forced(made, bad)
    (finding,) = made.verify()[1]
    assert "signature does not verify" in finding.why
    # what is said of a pack of nobody's key does not help it
    other = registry(tmp_path / "other")
    forced(other, made_up(model=foreign()), signed_by=f"{RELEASE.key_id:08x}")
    (finding,) = other.verify()[1]
    assert "none of the policy's pack_keys" in finding.why


def test_a_pack_and_all_its_layouts_come_in(tmp_path: Path) -> None:
    whole, layouts = with_layouts()
    made = registry(tmp_path / "r")
    ids = {name: pack_id(data) for name, data in layouts.items()}
    held = made_up(ids, model=whole, **layouts)
    made.add(held.files, key("a"), now_s=START_S + 60)
    assert made.verify()[1] == []
    for one in ids.values():
        assert made.find(one).pack == made.find(one[:8]).pack == held.facts.pack_id
    for data in (whole, *layouts.values()):
        with pytest.raises(InputError, match="already, by event 2"):
            made.add(made_up(model=data).files, key("a"), now_s=START_S + 120)


def test_no_pack_takes_the_name_of_another_one(tmp_path: Path) -> None:
    made = registry(tmp_path / "r")
    held, (whole, _) = made_up(model=release_pack()), with_layouts()
    made.add(held.files, key("a"), now_s=START_S + 60)
    mine = held.facts.pack_id
    for layouts in ({"wide": mine}, {"wide": "0" * 32, "rows": "0" * 32}):
        with pytest.raises(InputError, match=r"was added by event 2|names pack 0+ twice"):
            forced(made, made_up(model=whole), layouts=layouts)
    made.record("halted", mine, {"why": "so"}, key("b"), now_s=START_S + 120)


def test_a_pack_key_that_is_dropped_is_trusted_no_more(tmp_path: Path) -> None:
    made = registry(tmp_path / "r")
    held = contents(tmp_path / "run")
    pack, now = held.facts.pack_id, iter(range(START_S + 60, START_S + 6000, 60))

    def does(kind: str, by: str, about: str | None = pack, **detail: Any) -> None:
        made.record(kind, about, detail, key(by), now_s=next(now))

    made.add(held.files, key("a"), now_s=next(now))
    made.validate(pack, {}, key("b"), now_s=next(now))
    does("approved", "b")
    does("approved", "c")
    does("released", "b")
    dropped = policy("a", "b", "c", pack_keys=[key("new").public.hex()]).as_dict()
    does("policy", "a", None, policy=dropped)
    does("policy", "b", None, policy=dropped)
    with pytest.raises(InputError, match="none of the policy's pack_keys"):
        does("promoted", "b", stage="pilot", fleet="", wave=None)
    does("halted", "b", why="its key leaked")
    made.validate(pack, {}, key("b"), now_s=next(now))
    with pytest.raises(PackError, match="none of the policy's pack_keys"):
        does("approved", "c")
    assert made.verify()[1] == [], "it was trusted when it was added"


def test_the_development_key_is_trusted_where_the_policy_says_so(tmp_path: Path) -> None:
    held = made_up(model=REFERENCE.read_bytes())
    rig = registry(tmp_path / "rig", policy("a", "b", "c", development=True, pack_keys=[]))
    rig.add(held.files, key("a"), now_s=START_S + 60)
    assert rig.verify()[1] == []


@pytest.mark.parametrize(
    ("where", "name", "sabotage", "what"),
    [
        (contents_module, "is_repack", lambda *_: True, "another trusted pack as a layout"),
        (registry_module, "described", None, "another parent"),
    ],
)
def test_a_check_that_is_left_out_is_noticed(
    where: Any,
    name: str,
    sabotage: Callable[..., object] | None,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control."""
    held, _ = refused()[what]
    monkeypatch.setattr(where, name, sabotage or (lambda *_: (held.facts, held.detail)))
    made = registry(tmp_path / "r")
    made.add(held.files, key("a"), now_s=START_S + 60)
    assert made.verify()[1] == []


# -------------------------------------------------------------------------- anything in the folder


def found_of(made: Registry, blob: bytes) -> list[Finding]:
    """What verify finds when a signed event names these bytes as the manifest of its pack."""
    digest = made.store.put(blob, PACK)["digest"]
    about = Subject(manifest=digest, pack="1" * 32)
    with made._writing():
        made.log.append("added", about, ADDED, key("a"), now_s=START_S + 60)
    findings = made.verify()[1]
    for reads in (lambda: made.state(), lambda: made.find("1" * 32)):
        reads()
    return findings


def descriptor(made: Registry, data: bytes, title: object = "model.tfpack") -> dict[str, Any]:
    return {**made.store.put(data, PACK), "annotations": {"org.opencontainers.image.title": title}}


def manifests(made: Registry) -> dict[str, object]:
    config = made.store.put(b"{}", FACTS)
    pack = descriptor(made, release_pack())
    whole = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [pack],
    }
    bare = {name: value for name, value in pack.items() if name != "annotations"}
    untyped = {name: value for name, value in pack.items() if name != "mediaType"}
    return {
        "no pack": {**whole, "layers": []},
        "no annotations": {**whole, "layers": [bare]},
        "no media type": {**whole, "layers": [untyped]},
        "no title": {**whole, "layers": [{**pack, "annotations": {}}]},
        "annotations of another kind": {**whole, "layers": [{**pack, "annotations": 7}]},
        "a title of another kind": {**whole, "layers": [descriptor(made, b"x", 7)]},
        "a title twice": {**whole, "layers": [pack, pack]},
        "a title with a folder": {**whole, "layers": [descriptor(made, b"x", "../x.tfpack")]},
        "a digest with a folder": {
            **whole,
            "layers": [{**pack, "digest": "sha256:../../log.jsonl"}],
        },
        "a digest with a zero": {**whole, "layers": [{**pack, "digest": "sha256:\0"}]},
        "a layer of another kind": {**whole, "layers": ["pack"]},
        "layers of another kind": {**whole, "layers": 7},
        "a config that is no JSON": {**whole, "config": made.store.put(b"\xff", FACTS)},
        "a config that says nothing": whole,
        "no pack in a pack's layer": {**whole, "layers": [descriptor(made, b"x")]},
        "a list": [],
        "a number": 7,
    }


def test_a_signed_event_with_a_manifest_of_any_kind_is_corrupt(tmp_path: Path) -> None:
    for name in manifests(registry(tmp_path / "first")):
        made = registry(tmp_path / name)
        (finding,) = found_of(made, encoded(manifests(made)[name]))
        assert (finding.verdict, finding.number) == ("CORRUPT", 2), name


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(("", "sha256:", "7", "a/b")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("config", "layers", "digest", "size", "mediaType", "annotations", "subject")
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.binary(max_size=40) | values.map(encoded))
def test_any_bytes_are_no_manifest_or_one(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    made = Registry(tmp_path_factory.getbasetemp() / "blobs")
    made.store.blobs.mkdir(parents=True, exist_ok=True)
    (made.store.blobs / ".keep").touch()
    digest = made.store.put(data, PACK)["digest"]
    for reads in (made.store.manifest, made.store.layers, made.store.check):
        with pytest.raises(TinyfinError):
            reads(digest)


def test_what_is_no_file_is_corrupt(tmp_path: Path) -> None:
    made = registry(tmp_path / "r")
    made.add(contents(tmp_path / "run").files, key("a"), now_s=START_S + 60)
    for blob in sorted(made.store.blobs.iterdir()):
        kept = blob.read_bytes()
        blob.unlink()
        os.mkfifo(blob)
        finding = made.verify()[1][0]
        assert "is no file" in finding.why
        blob.unlink()
        blob.write_bytes(kept)


def test_a_manifest_that_is_too_deep_is_corrupt(tmp_path: Path) -> None:
    (finding,) = found_of(registry(tmp_path / "r"), b"[" * 100_000)
    assert (finding.verdict, finding.number) == ("CORRUPT", 2)
