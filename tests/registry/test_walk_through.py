# SPDX-License-Identifier: Apache-2.0
"""docs/registry.md from its first command to its last, and what the commands say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.cli import tinyfin, tinyfin_json
from tests.support.process import call, need
from tests.support.registries import START_S
from tinyfin import paths
from tinyfin.pack.container import open_pack
from tinyfin.registry.export import RegistryExport

PAGE = paths.project_dir() / "docs" / "registry.md"
REFERENCE = paths.project_dir() / "models" / "payment" / "model.tfpack"
PACK = "runs/second/release/model.tfpack"


def commands(text: str) -> list[str]:
    """The indented lines, those joined that end in a backslash."""
    joined = re.sub(r" \\\n +", " ", text)
    return re.findall(r"^    (\S.*)$", joined, re.MULTILINE)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a released run, policy.toml and report.pdf; a minute passes at each event, and
    the page begins on 2026-11-01."""
    monkeypatch.chdir(tmp_path)
    clock = iter(range(START_S + 6 * 86400, 2**40, 60))
    monkeypatch.setattr("tinyfin.registry.log.time", SimpleNamespace(time=lambda: next(clock)))
    release = Path(PACK).parent
    release.mkdir(parents=True)
    tinyfin("keygen release.key")
    shutil.copy(REFERENCE, "reference.tfpack")
    tinyfin(f"sign reference.tfpack --key release.key --out {PACK}")
    (release / "public.key").write_text(Path("release.key.pub").read_text())
    (release / "release.json").write_text("{}")
    for name in ("run.json", "metrics.json", "MODEL_CARD.md"):
        (release.parent / name).write_text("{}")
    Path("policy.toml").write_text(PAGE.read_text().split("```toml\n")[1].split("```")[0])
    Path("report.pdf").write_bytes(b"%PDF")
    return tmp_path


def followed(until: str = "") -> str:
    """Do what the page says, up to the first command that has ``until`` in it; what was said."""
    section = PAGE.read_text(encoding="utf-8").split("## Who may do what")[0]
    said = ""
    for line in commands(section):
        if until and until in line:
            break
        if line.startswith("tinyfin "):
            said += tinyfin(line.removeprefix("tinyfin ")).output
        else:
            subprocess.run(line, shell=True, check=True, timeout=60)
    return said


def test_the_page(desk: Path) -> None:
    said = followed()
    assert "VALID: events 1 to 8" in said
    assert "pilot  north  1     " in said
    assert re.search(r"stage .*\n.* released  2026-11-01T", said) is None, "it was halted since"
    assert re.search(r"at 2026-11-03T23:59:59Z: event 8 of 2026-11-01T", said)
    state = tinyfin_json("registry at 2026-11-01T07:38:00Z")
    (pack,) = state["packs"]
    assert (pack["standing"], pack["approvals"][0]["name"]) == ("approved", "validation")
    assert pack["pack"] == open_pack(PACK).pack_id.hex()
    assert "no event yet" in tinyfin("registry at 2026-10-31").output
    shown = tinyfin_json("registry show", PACK)
    files = [one["name"] for one in shown["files"]]
    layouts = [f"model.{name}.tfpack" for name in pack["facts"]["layouts"]]
    assert layouts
    assert files[0] == "model.tfpack"
    kept = ("release.json", "run.json", "metrics.json", "MODEL_CARD.md")
    assert sorted(files[1:]) == sorted([*layouts, *kept])
    assert shown["config"]["lineage"]["weights"]
    by_layout = next(iter(pack["facts"]["layouts"].values()))
    assert tinyfin_json("registry show", by_layout[:6])["pack"] == pack["pack"]
    assert len(tinyfin_json("registry log", PACK)["events"]) == 7


def test_the_export_is_typed_and_at_a_date(desk: Path) -> None:
    followed(until="export")
    early = "2026-11-01T07:36:00Z"
    tinyfin("registry export --out now.json")
    now = RegistryExport.read(Path("now.json"))
    then = RegistryExport.model_validate_json(tinyfin("registry export --at", early).stdout)
    assert [pack.standing for pack in (*then.packs, *now.packs)] == ["validated", "halted"]
    assert [event.number for event in then.events] == [1, 2, 3]
    assert now.head == tinyfin_json("registry verify")["head"]
    text = Path("registry/log.jsonl").read_text()
    assert [event.kind for event in now.events] == [
        json.loads(line)["kind"] for line in text.splitlines()
    ]
    assert then.text() == RegistryExport.model_validate_json(then.text()).text()
    assert "has no event up to" in tinyfin("registry export --at 2026-10-01", code=3).output


def test_skopeo_copies_it(desk: Path) -> None:
    need("skopeo")
    followed(until="approve")
    pack = open_pack(PACK).pack_id.hex()
    call("skopeo", "copy", f"oci:registry:{pack}", f"oci:copy:{pack}")
    (manifest,) = json.loads(Path("copy/index.json").read_text())["manifests"]
    raw = json.loads(call("skopeo", "inspect", "--raw", f"oci:copy:{pack}").stdout)
    assert raw["annotations"]["tinyfin.pack"] == pack
    for blob in Path("copy/blobs/sha256").iterdir():
        assert blob.read_bytes() == (Path("registry/blobs/sha256") / blob.name).read_bytes()
    named = {raw["config"]["digest"], *(one["digest"] for one in raw["layers"])}
    there = {f"sha256:{blob.name}" for blob in Path("copy/blobs/sha256").iterdir()}
    assert there == named | {manifest["digest"]}
    Path("registry/blobs/sha256", raw["layers"][0]["digest"][7:]).write_bytes(b"other")
    call("skopeo", "copy", f"oci:registry:{pack}", f"oci:other:{pack}", code=1)


def test_verify_names_what_was_changed(desk: Path) -> None:
    followed(until="verify")
    folder = Path("registry")
    whole = (folder / "log.jsonl").read_bytes()
    head = f"8:{tinyfin_json('registry log')['events'][-1]['sha256']}"
    said = tinyfin("registry verify --head", head).output
    assert said.startswith("VALID: events 1 to 8")
    assert "no head" not in said
    (folder / "log.jsonl").write_bytes(whole.replace(b"risk", b"mine"))
    assert "CORRUPT: event 1 " in tinyfin("registry verify", code=4).output
    assert "CORRUPT: event 1 " in tinyfin("registry at", code=4).output
    (folder / "log.jsonl").write_bytes(whole.replace(b"October", b"october"))
    assert tinyfin_json_failing("registry verify")["findings"][0]["number"] == 3
    (folder / "log.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert "no head to compare with" in tinyfin("registry verify").output
    assert "TRUNCATED: event 8 " in tinyfin("registry verify --head", head, code=4).output
    tinyfin(f"registry halt {PACK} --why other --key risk.key")
    assert "FORKED: event 8 " in tinyfin("registry verify --head", head, code=4).output
    (folder / "log.jsonl").write_bytes(whole + b'{"actor"')
    assert "TORN: event 9 " in tinyfin("registry verify", code=4).output
    assert "event 9 is torn" in tinyfin("registry at").output
    (folder / "log.jsonl").write_bytes(whole)
    for blob in sorted((folder / "blobs" / "sha256").iterdir()):
        kept = blob.read_bytes()
        blob.write_bytes(kept + b"\n")
        said = tinyfin("registry verify", code=4).output
        assert f"{blob.name}: was changed" in said
        assert re.search("CORRUPT: event [23] names content", said)
        blob.unlink()
        assert f"{blob.name}: cannot be read" in tinyfin("registry verify", code=4).output
        blob.write_bytes(kept)
    (folder / "index.json").write_text("{}")
    assert "STALE: " in tinyfin("registry verify", code=4).output
    tinyfin(f"registry retire {PACK} --why enough --key risk.key")
    assert "VALID: events 1 to 9" in tinyfin("registry verify").output
    assert tinyfin_json("registry at")["places"] == []


def tinyfin_json_failing(line: str) -> dict[str, list[dict[str, int]]]:
    found: dict[str, list[dict[str, int]]] = json.loads(tinyfin(f"{line} --json", code=4).stdout)
    return found


@pytest.mark.parametrize(
    ("until", "words", "said"),
    [
        ("approve", f"approve {PACK} --key builder.key", "builder may not sign"),
        ("validate", f"approve {PACK} --key risk.key", "is not validated"),
        ("validate", f"release {PACK} --key risk.key", "has 0 of 2 approvals"),
        ("registry release", f"promote {PACK} pilot --key risk.key", "is not released"),
        ("registry release", f"approve {PACK} --key risk.key", "risk has approved pack"),
        ("promote", f"promote {PACK} moon --key risk.key", "'moon' is no stage; there are labor"),
        ("promote", f"release {PACK} --key risk.key", "is released already"),
        ("at 2026", f"promote {PACK} production --key risk.key", "is halted, by event 8"),
        ("validate", "add runs/second --key builder.key", "has pack .* already, by event 2"),
        ("validate", "show 0123456", "no pack of the name '0123456'"),
        ("validate", f"approve {PACK} --key release.key", "a person key is wanted here"),
        ("validate", "init policy.toml --key risk.key", "something of that name"),
        ("registry init", "at", "cannot be read"),
        ("registry init", "verify", "name the folder of a registry"),
        ("validate", "at 2026-13-01", "a moment is written like"),
    ],
)
def test_what_is_refused_says_why(desk: Path, until: str, words: str, said: str) -> None:
    followed(until=until)
    answer = tinyfin(f"registry {words}", code=3)
    assert re.search(said, " ".join(answer.output.split()))


def test_another_person_and_a_key_that_leaked(desk: Path) -> None:
    followed(until="approve")
    tinyfin("keygen second.key --kind person")
    text = Path("policy.toml").read_text()
    one_more = '[[persons]]\nname = "second"\nkey = "second.key.pub"\n'
    Path("policy.toml").write_text(f"{text}\n{one_more}")
    tinyfin(f"registry approve {PACK} --key risk.key")
    said = tinyfin("registry policy policy.toml --key risk.key").output
    assert "counts when others have signed it" in said
    refused = tinyfin(f"registry approve {PACK} --key second.key", code=3).output
    assert "is none of the policy's" in refused
    said = tinyfin("registry policy policy.toml --key validation.key").output
    assert "counts from now on" in said
    tinyfin("registry revoke risk.key.pub --why stolen --key validation.key")
    refused = tinyfin(f"registry halt {PACK} --why x --key risk.key", code=3).output
    assert "was revoked by event 7" in refused
    tinyfin(f"registry approve {PACK} --key second.key")
    refused = tinyfin(f"registry release {PACK} --key second.key", code=3).output
    assert "has 1 of 2 approvals" in refused
    tinyfin(f"registry approve {PACK} --key validation.key")
    tinyfin(f"registry release {PACK} --key second.key")
    assert tinyfin_json("registry verify")["verdict"] == "VALID"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("approvals = 2 ", "approvals = 3 "), "3 must approve, and 2 of the persons may"),
        (('"validation"', '"risk"'), "the name risk is there twice"),
        (("validation.key.pub", "risk.key.pub"), "the key .* is there twice"),
        (("risk.key.pub", "risk.key"), "give its public half"),
        (("stages", "stage"), "stage: unknown key"),
        (("[[persons]]", "[[people]]"), r"name each with \[\[persons\]\]"),
        (('"pilot"', '"pilot", "pilot"'), "the stage pilot is there twice"),
        (('["release.key.pub"]', "[]"), "pack_keys: name the public keys"),
        (('["release.key.pub"]', '"release.key.pub"'), "pack_keys: a list of files"),
        (("release.key.pub", "risk.key.pub"), "risk.key.pub: .*person"),
        (('"release.key.pub"', '"release.key.pub", "release.key.pub"'), "the pack key .* twice"),
        (('["added"]', '["added"]\nx = 1'), "x: unknown key"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(
    desk: Path, change: tuple[str, str], said: str
) -> None:
    followed(until="registry init")
    Path("policy.toml").write_text(Path("policy.toml").read_text().replace(*change))
    answer = tinyfin("registry init policy.toml --key risk.key", code=3)
    assert re.search(said, answer.output)
    assert not Path("registry").exists()


def test_a_release_that_was_refused_and_a_pack_that_is_not_trusted(desk: Path) -> None:
    followed(until="registry add")
    add = "registry add runs/second --key builder.key"
    tinyfin(f"{add} report.pdf")
    Path(PACK).unlink()
    assert "that release was refused" in tinyfin(add, code=3).output
    refused = tinyfin("registry add", REFERENCE, "--key", "builder.key", code=3).output
    assert "is signed by the development key" in refused
    tinyfin("keygen other.key")
    tinyfin("sign reference.tfpack --key other.key --out other.tfpack")
    add = "registry add other.tfpack --key builder.key"
    assert "none of the policy's pack_keys" in tinyfin(add, code=3).output


def test_a_revocation_that_leaves_too_few_takes_more_signatures(desk: Path) -> None:
    followed(until="registry at")
    said = tinyfin("registry revoke risk.key.pub --why stolen --key validation.key").output
    assert "counts when others have signed it" in said
    tinyfin("registry log")
    said = tinyfin("registry revoke risk.key.pub --why stolen --key risk.key").output
    assert "counts from now on" in said
    assert (
        "was revoked by" in tinyfin(f"registry retire {PACK} --why x --key risk.key", code=3).output
    )
    said = tinyfin("registry revoke builder.key.pub --why old --key validation.key").output
    assert "counts from now on" in said
