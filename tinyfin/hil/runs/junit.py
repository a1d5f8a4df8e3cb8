# SPDX-License-Identifier: Apache-2.0
"""JUnit XML, as Jenkins and GitLab read it: one suite per target, one case per thing to be proven.

A case that failed is a ``failure`` when answers differ and an ``error`` for every other kind; its
``type`` is the kind. A case that was not reached is an ``error``, too: it was not proven.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as xml

from tinyfin import files
from tinyfin.hil.failures import FailureKind
from tinyfin.hil.runs.results import PASSED, SKIPPED, Case, RigResult, TargetResult
from tinyfin.text import printable

__all__ = ["document", "write"]

_FACTS = (
    "events",
    "verdicts",
    "lost",
    "doubled",
    "mismatches",
    "retransmitted",
    "unexplained_reboots",
    "bytes_up_per_transaction",
    "bytes_down_per_transaction",
    "chaos",
    "state_digest",
)


def write(path: Path, result: RigResult) -> Path:
    """Write the document. Raises InputError when the file cannot be written."""
    return files.write(path, document(result), make_folder=True)


def document(result: RigResult) -> bytes:
    """The document, UTF-8."""
    root = xml.Element("testsuites")
    tests = failures = errors = 0
    for at, target in enumerate(result.targets):
        suite = _suite(result, target, at)
        root.append(suite)
        tests += int(suite.get("tests", 0))
        failures += int(suite.get("failures", 0))
        errors += int(suite.get("errors", 0))
    root.attrib.update(
        name=_clean(f"tinyfin {result.rig}"),
        tests=str(tests),
        failures=str(failures),
        errors=str(errors),
        time=f"{result.seconds:.3f}",
    )
    xml.indent(root)
    head = b'<?xml version="1.0" encoding="utf-8"?>\n'
    return head + bytes(xml.tostring(root, encoding="utf-8")) + b"\n"


def _suite(result: RigResult, target: TargetResult, at: int) -> xml.Element:
    bad = [c for c in target.cases if c.failure is not None]
    failures = sum(1 for c in bad if _is_failure(c))
    unproven = sum(
        1 for c in target.cases if c.failure is None and c.status not in (PASSED, SKIPPED)
    )
    suite = xml.Element(
        "testsuite",
        {
            "name": _clean(target.name),
            "id": str(at),
            "tests": str(len(target.cases)),
            "failures": str(failures),
            "errors": str(len(bad) - failures + unproven),
            "skipped": str(sum(c.status == SKIPPED for c in target.cases)),
            "time": f"{target.seconds:.3f}",
            "timestamp": result.started,
        },
    )
    properties = xml.SubElement(suite, "properties")
    facts = {
        "rig": result.rig,
        "rig_file": result.rig_file,
        "run": result.run,
        "target": target.target,
        "emulated": str(target.emulated).lower(),
        "transcript": target.transcript or "",
        **{key: _words(value) for key, value in target.hello.as_dict().items()},
    }
    for name, value in facts.items():
        xml.SubElement(properties, "property", name=name, value=_clean(value))
    for case in target.cases:
        suite.append(_case(result, target, case))
    lines = [f"{step.at_s} s: {step.rung}: {step.outcome}" for step in target.ladder]
    lines += target.logs
    if lines:
        xml.SubElement(suite, "system-out").text = _clean("\n".join(lines))
    return suite


def _case(result: RigResult, target: TargetResult, case: Case) -> xml.Element:
    made = xml.Element(
        "testcase",
        {
            "name": _clean(case.name),
            "classname": _clean(f"{result.rig}.{target.name}"),
            "time": f"{case.seconds:.3f}",
        },
    )
    if case.status == SKIPPED:
        xml.SubElement(made, "skipped", message=_clean(case.note))
    elif case.failure is not None:
        kind = case.failure.kind
        tag = "failure" if _is_failure(case) else "error"
        said = xml.SubElement(made, tag, type=str(kind), message=_clean(case.failure.message))
        said.text = _clean(f"{case.failure.message}\n{case.failure.advice}")
    elif case.status != PASSED:
        xml.SubElement(made, "error", type="bench", message="it was never proven")
    out = [case.about if case.status == PASSED else f"to be proven: {case.about}"]
    out = out if case.about else []
    facts = {name: getattr(case.facts, name) for name in _FACTS}
    out += [f"{name}: {value}" for name, value in facts.items() if value is not None]
    if case.note and case.status != SKIPPED:
        out.append(case.note)
    if out:
        xml.SubElement(made, "system-out").text = _clean("\n".join(out))
    return made


def _is_failure(case: Case) -> bool:
    """A verdict on the firmware; everything else is an error on the way to it."""
    assert case.failure is not None
    return case.failure.kind == FailureKind.MISMATCH and case.reached


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _clean(text: str) -> str:
    """Without what XML does not have, and without what a console or an editor would obey."""
    return printable(text)
