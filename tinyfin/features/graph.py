# SPDX-License-Identifier: Apache-2.0
"""From expressions to numbered nodes: names resolved, equal ones merged, ranges known."""

from __future__ import annotations

import difflib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tinyfin.errors import ConfigError
from tinyfin.features.expressions import Expression
from tinyfin.features.operators import LABELLED, RAM_ONLY, RESULT_BITS, SELF, Operator
from tinyfin.features.ranges import FULL, Interval, result_range
from tinyfin.schema import Schema

__all__ = ["NONE", "Graph", "Node", "is_late", "required_fields", "walk"]

NONE = -1
"""No input."""


@dataclass(frozen=True)
class Node:
    """One operator of the program; inputs are numbers of earlier nodes, or NONE."""

    operator: Operator
    a: int
    b: int
    c: int
    key: int
    when: int
    flags: int
    parameters: tuple[int, int, int, int]
    pool: bytes
    interval: Interval
    ram_only: bool
    late: bool
    """Made in the outcome phase: depends on OUTCOME."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """Numbers of the nodes read, in the order a, b, c."""
        return tuple(x for x in (self.a, self.b, self.c) if x != NONE)

    def read_inputs(self) -> tuple[int, ...]:
        """Inputs that scoring needs: all of a pure operator, of a stateful one those it reads."""
        if not self.operator.stateful:
            return self.inputs
        roles = set(self.operator.reads) | ({"a", "c"} if self.flags & SELF else set())
        return tuple(x for x in (getattr(self, role) for role in sorted(roles)) if x != NONE)

    def commit_inputs(self) -> tuple[int, ...]:
        """Inputs that the commit needs."""
        return self.inputs if self.operator.stateful and self.operator.commits else ()


class Graph:
    """Nodes in an order in which every input comes before its reader."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.nodes: list[Node] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._done: dict[int, int] = {}
        self._keep_alive: list[Expression] = []

    def add(self, expression: Expression) -> int:
        """Number of the node for ``expression``; ConfigError for a field the schema lacks."""
        known = self._done.get(id(expression))
        if known is not None:
            return known
        a, b, c = (
            NONE if x is None else self.add(x) for x in (expression.a, expression.b, expression.c)
        )
        node = self._node(expression, a, b, c)
        key = (
            node.operator.code,
            a,
            b,
            c,
            node.key,
            node.when,
            node.flags,
            node.parameters,
            node.pool,
        )
        number = self._numbers.get(key)
        if number is None:
            number = len(self.nodes)
            self._numbers[key] = number
            self.nodes.append(node)
        self._keep_alive.append(expression)  # an id is only unique while its object lives
        self._done[id(expression)] = number
        return number

    def _node(self, x: Expression, a: int, b: int, c: int) -> Node:
        p = [x.p0, x.p1, x.p2, x.p3]
        pool = x.pool
        if x.field is not None:
            index = self.schema.index(x.field)
            if x.operator.name in ("FIELD", "PRESENT"):
                p[2] = index
            else:
                pool = self._values(x, p)
        inputs = [self.nodes[i] for i in (a, b, c) if i != NONE]
        ram_only = any(node.ram_only for node in inputs)
        if x.operator.name == "FIELD":
            field = self.schema.fields[p[2]]
            low, high = field.bounds
            if field.type == "u64":
                low, high = 0, FULL[1]  # the low 62 bits
            low, high = min(low, field.missing), max(high, field.missing)
            interval = (max(low, FULL[0]), min(high, FULL[1]))
            ram_only = field.ram_only
        else:
            range_a = self.nodes[a].interval if a != NONE else (0, 0)
            range_b = self.nodes[b].interval if b != NONE else (p[0], p[0])
            interval = result_range(x.operator.name, range_a, range_b, p, pool)
        late = self._late(x, inputs)
        marks = RAM_ONLY if ram_only and x.operator.stateful and x.operator.commits else 0
        node = Node(
            x.operator,
            a,
            b,
            c,
            x.key,
            x.when,
            x.flags | marks,
            (p[0], p[1], p[2], p[3]),
            _pack_pool(x.operator, pool),
            interval,
            ram_only,
            late,
        )
        self._check_phases(node)
        return node

    def _values(self, x: Expression, p: list[int]) -> tuple[int, ...]:
        """Enum names as numbers: into p0 (COMPARE), the set (IN) or the table (LOOKUP)."""
        field = self.schema.field(x.field or "")
        indices = [self._value(field.name, field.values, value) for value in x.values]
        if x.operator.name == "COMPARE":
            p[0] = indices[0]
            return ()
        if x.operator.name == "IN":
            return tuple(sorted(indices))
        table = [p[1]] * len(field.values)
        for index, number in zip(indices, x.pool, strict=True):
            table[index] = number
        p[2] = len(table)
        return tuple(table)

    @staticmethod
    def _value(name: str, values: tuple[str, ...], value: str) -> int:
        if value not in values:
            if not values:
                raise ConfigError(f"field {name!r} is not an enum; compare it with a number")
            near = difflib.get_close_matches(value, values, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(values)}"
            raise ConfigError(f"field {name!r} has no value {value!r}; {hint}")
        return values.index(value)

    @staticmethod
    def _late(x: Expression, inputs: list[Node]) -> bool:
        if x.operator.stateful:
            return False
        return x.operator.name == "OUTCOME" or any(node.late for node in inputs)

    def _check_phases(self, node: Node) -> None:
        for number in node.read_inputs():
            if self.nodes[number].late and node.operator.stateful:
                raise ConfigError(
                    f"{node.operator.name} reads an outcome while scoring, before there is one; "
                    "use outcome() only in what an operator learns (and without SELF)"
                )


def _pack_pool(operator: Operator, pool: tuple[int, ...]) -> bytes:
    if operator.pool == 0:
        return b""
    low, high = (-(2**15), 2**15 - 1) if operator.pool == 2 else (-(2**63), 2**63 - 1)
    for value in pool:
        if not low <= value <= high:
            raise ConfigError(f"{operator.name}: constant {value} is outside {low}..{high}")
    return struct.pack(f"<{len(pool)}{'h' if operator.pool == 2 else 'q'}", *pool)


def required_fields(expression: Expression) -> Mapping[str, None]:
    """Names of the schema's fields that an expression reads, in order of first use."""
    return {x.field: None for x in walk(expression) if x.field is not None}


def is_late(expression: Expression) -> bool:
    """True when it learns from responses or notices, and not from what was approved alone."""
    return any(
        x.operator.name == "OUTCOME"
        or x.operator.name in LABELLED
        or (x.operator.commits and x.when and not x.when & RESULT_BITS["approved"])
        for x in walk(expression)
    )


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and all that it reads, each once."""
    stack = [expression]
    seen: set[int] = set()
    while stack:
        x = stack.pop()
        if id(x) not in seen:
            seen.add(id(x))
            yield x
            stack.extend(reversed(x.inputs()))
