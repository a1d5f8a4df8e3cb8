# SPDX-License-Identifier: Apache-2.0
"""Features that users define in tinyfin.toml.

A table per feature. Either one operator with its parameters::

    [features.small_rate]
    op = "window"
    key = "terminal"
    seconds = "10m"
    buckets = 10
    where = "amount_minor <= 500 and entry_mode == 'keyed'"

or a whole expression::

    [features.keyed_amount]
    expression = "either(entry_mode == 'keyed', log2(amount_minor), 0)"

Names in expressions are fields of the schema, features of the catalogue and own features defined
above; ``cut`` is the number that ``cut = 500`` gives, or that training learns for
``cut = "learn"``. With ``risk = "learn"`` training turns the number into how likely fraud is at it.
Operators are those of :mod:`tinyfin.features.expressions`. ``doc``, ``catches`` and ``reason`` (an
id of the reasons) may be added; with ``side`` ("above" or "below") and ``neutral`` the reason is
given only where its text is true (:class:`tinyfin.features.definition.Feature`). ``reason`` may
also be a text of your own.
"""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast, get_args

from tinyfin.errors import ConfigError
from tinyfin.features import expressions as ex
from tinyfin.features.catalogue import BY_NAME, REASONS
from tinyfin.features.catalogue.reasons import OWN_REASONS
from tinyfin.features.definition import Feature, Side
from tinyfin.features.expressions import Expression
from tinyfin.features.graph import is_late

__all__ = ["FUNCTIONS", "define_feature", "number_reasons", "parse_expression"]

OWN_REASON = 38
_REASON_LENGTH = 100
_TEXT_KEYS = ("op", "expression", "doc", "catches", "reason", "side", "neutral", "cut", "risk")
_WORDS = ("key", "what")
_OF_A_FIELD = ("present", "field")
_DURATIONS = ("seconds", "cap_s", "span_s")
_TRUTH = {"true": True, "false": False}  # as TOML writes them; Python's are constants already

FUNCTIONS: Mapping[str, Callable[..., Expression]] = {
    name: getattr(ex, name)
    for name in (
        "absolute",
        "bucket",
        "day_of_week",
        "deviation",
        "distinct",
        "divisible",
        "either",
        "field",
        "hour_of_day",
        "hour_of_week",
        "is_in",
        "known",
        "larger",
        "last_n",
        "local_time",
        "log2",
        "lookup",
        "mean",
        "mode",
        "outcome",
        "popcount",
        "present",
        "previous",
        "rarity",
        "ratio",
        "repeat",
        "run",
        "seen",
        "share",
        "since",
        "smaller",
        "time",
        "window",
    )
}
"""What an own feature may call."""

_COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.GtE: ">=",
    ast.Gt: ">",
}

_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class LearnedRisk(Protocol):
    """A table that training learned."""

    @property
    def cuts(self) -> list[int]:
        """Ascending; the number of those not above x is the entry."""

    @property
    def values(self) -> list[int]:
        """The entries."""


def number_reasons(tables: Mapping[str, Mapping[str, object]]) -> dict[str, int]:
    """Ids of the texts that ``reason`` gives in [features] tables: that of the catalogue where it
    has the text, else the next of OWN_REASONS in the order of the tables.

    Raises ConfigError for a text that is empty, too long or not printable, and for too many texts.
    """
    numbers = {text: number for number, text in REASONS.items()}
    free = iter(OWN_REASONS)
    for name, table in tables.items():
        text = table.get("reason")
        if not isinstance(text, str) or text in numbers:
            continue
        where = f"features.{name}.reason = {text!r}"
        if not text.strip() or not text.isprintable() or len(text) > _REASON_LENGTH:
            raise ConfigError(f"{where}: must be one line of 1 to {_REASON_LENGTH} characters")
        number = next(free, None)
        if number is None:
            raise ConfigError(
                f"{where}: there may be {len(OWN_REASONS)} texts of your own; give features that "
                "say the same thing the same text"
            )
        numbers[text] = number
    return numbers


def define_feature(
    name: str,
    table: Mapping[str, object],
    number: int,
    own: Mapping[str, Feature],
    cut: int | None = None,
    risk: LearnedRisk | None = None,
    reasons: Mapping[str, int] | None = None,
) -> Feature:
    """The feature that ``[features.NAME]`` describes; ``own`` are those defined before it.

    ``cut`` takes the place of the table's ``cut = "learn"``; 0 until training has learned it.
    ``risk`` puts the number into the table learned for ``risk = "learn"``; until then the feature
    is the number itself. ``reasons``: what :func:`number_reasons` says of all tables.

    Raises ConfigError naming key and fix.
    """
    where = f"features.{name}"
    if not name.isidentifier():
        raise ConfigError(f"{where}: name it with letters, digits and _, a letter first")
    if ("op" in table) == ("expression" in table):
        raise ConfigError(f'{where}: give either op = "..." or expression = "..."')
    known: dict[str, Expression | int] = {
        k: feature.expression for k, feature in {**BY_NAME, **own}.items()
    }
    if "cut" in table:
        known["cut"] = _cut(table["cut"], cut, where)
    if "op" in table:
        expression = _from_operator(table, known, where)
        text = ", ".join(f"{k} = {v}" for k, v in table.items() if k not in _TEXT_KEYS[1:])
    else:
        _known_keys(table, _TEXT_KEYS, where)
        text = _text(table, "expression", where)
        expression = parse_expression(text, known, f"{where}.expression")
    if table.get("risk", "learn") != "learn":
        raise ConfigError(f'{where}.risk = {table["risk"]!r}: must be "learn"')
    if "risk" in table and risk is not None:
        expression = ex.lookup(ex.bucket(expression, tuple(risk.cuts)), tuple(risk.values), 0)
    reason = table.get("reason", OWN_REASON)
    texts: dict[int, str] = {}
    if isinstance(reason, str):
        numbers = number_reasons({name: table}) if reasons is None else reasons
        said, reason = reason, numbers[reason]
        texts = {reason: said} if reason in OWN_REASONS else {}
    numbered = isinstance(reason, int) and not isinstance(reason, bool)
    if not numbered or reason not in {0, *REASONS, *texts}:
        raise ConfigError(
            f"{where}.reason = {reason!r}: must be 0, a reason's number, 1 to {max(REASONS)}, or a "
            "text of your own"
        )
    side = table.get("side", "both")
    if side not in get_args(Side):
        raise ConfigError(f"{where}.side = {side!r}: must be one of {', '.join(get_args(Side))}")
    neutral = table.get("neutral")
    if neutral is not None and (isinstance(neutral, bool) or not isinstance(neutral, int)):
        raise ConfigError(f"{where}.neutral = {neutral!r}: must be a whole number")
    return Feature(
        name,
        number,
        reason,
        _text(table, "doc", where, text),
        _text(table, "catches", where, ""),
        "after" if is_late(expression) else "before",
        expression,
        side=cast(Side, side),
        neutral=neutral,
        texts=texts,
    )


def _cut(given: object, learned: int | None, where: str) -> int:
    if given == "learn":
        return learned or 0
    if isinstance(given, int) and not isinstance(given, bool) and -(2**31) <= given < 2**31:
        return given
    raise ConfigError(f'{where}.cut = {given!r}: must be "learn" or a whole number of 32 bits')


def parse_expression(text: str, known: Mapping[str, Expression | int], where: str) -> Expression:
    """An expression as written in tinyfin.toml. Names in ``known`` are expressions, others fields.

    Raises ConfigError.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
        value = _Reader(known, where).read(tree.body)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ConfigError(f"{where} = {text!r}: cannot be read: {error}") from None
    if isinstance(value, int):
        return ex.const(value)
    if not isinstance(value, Expression):
        raise ConfigError(f"{where} = {text!r}: is not a number; compare or compute something")
    return value


class _Reader:
    """Turns a Python expression tree into an Expression; nothing is executed."""

    def __init__(self, known: Mapping[str, Expression | int], where: str) -> None:
        self.known = known
        self.where = where

    def read(self, node: ast.expr) -> object:
        """An Expression, or the constant (number, text, tuple) that the node is."""
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, str)):
            text = node.value  # no word of the schema begins with a digit: this is a duration
            return _seconds(text, self.where) if str(text)[:1].isdigit() else text
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self.read(item) for item in node.elts)
        if isinstance(node, ast.Name):
            if node.id in _TRUTH:
                return _TRUTH[node.id]
            return self.known[node.id] if node.id in self.known else ex.field(node.id)
        if isinstance(node, ast.UnaryOp):
            return self._unary(node)
        if isinstance(node, ast.BoolOp):
            parts = [self._expression(value) for value in node.values]
            return (ex.all_of if isinstance(node.op, ast.And) else ex.any_of)(*parts)
        if isinstance(node, ast.BinOp):
            return self._arithmetic(node)
        if isinstance(node, ast.Compare):
            return self._compare(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise self._error(f"{ast.unparse(node)!r} is not part of the language")

    def _error(self, message: str) -> ConfigError:
        return ConfigError(f"{self.where}: {message}")

    def _expression(self, node: ast.expr) -> Expression:
        value = self.read(node)
        if isinstance(value, int):
            return ex.const(value)
        if not isinstance(value, Expression):
            raise self._error(f"{ast.unparse(node)!r} is not a number")
        return value

    def _operand(self, node: ast.expr) -> Expression | int:
        value = self.read(node)
        return value if isinstance(value, int) else self._expression(node)

    def _unary(self, node: ast.UnaryOp) -> Expression | int:
        if isinstance(node.op, ast.Not):
            return ~self._expression(node.operand)
        value = self.read(node.operand)
        if isinstance(node.op, ast.USub) and isinstance(value, int):
            return -value
        raise self._error(f"{ast.unparse(node)!r} is not part of the language; use 0 - x or not x")

    def _arithmetic(self, node: ast.BinOp) -> Expression:
        left = self._expression(node.left)
        right = self._operand(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.FloorDiv) and isinstance(right, int):
            return left // right
        raise self._error(
            f"{ast.unparse(node)!r}: there are + - * and // by a number; "
            "see ratio(); a remainder is x - x // n * n"
        )

    def _compare(self, node: ast.Compare) -> Expression:
        if len(node.ops) != 1:
            raise self._error(f"{ast.unparse(node)!r}: compare two things at a time")
        operator, right = node.ops[0], self.read(node.comparators[0])
        values = right if isinstance(right, tuple) else (right,)
        if all(isinstance(value, str) for value in values):
            if not isinstance(node.left, ast.Name) or node.left.id in self.known:
                raise self._error(f"{ast.unparse(node)!r}: only a field has named values")
            test = ex.is_value(node.left.id, *values)
            if isinstance(operator, (ast.Eq, ast.In)):
                return test
            if isinstance(operator, (ast.NotEq, ast.NotIn)):
                return ~test
        elif isinstance(operator, (ast.In, ast.NotIn)) and isinstance(right, tuple):
            test = ex.is_in(self._expression(node.left), right)
            return test if isinstance(operator, ast.In) else ~test
        elif type(operator) in _COMPARISONS and not isinstance(right, tuple):
            left, relation = self.read(node.left), _COMPARISONS[type(operator)]
            if isinstance(left, int) and not isinstance(right, int):
                return ex.compare(
                    _TURNED.get(relation, relation), self._expression(node.comparators[0]), left
                )
            return ex.compare(
                relation, self._expression(node.left), self._operand(node.comparators[0])
            )
        raise self._error(f"{ast.unparse(node)!r}: this comparison is not part of the language")

    def _call(self, node: ast.Call) -> Expression:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        arguments = [self._argument("", name, value) for value in node.args]
        named = {
            k.arg: self._argument(k.arg, name, k.value) for k in node.keywords if k.arg is not None
        }
        return _call(name, arguments, named, self.where)

    def _argument(self, parameter: str, function: str, node: ast.expr) -> object:
        if function in _OF_A_FIELD and isinstance(node, ast.Name):
            return node.id
        value = self.read(node)
        return _seconds(value, self.where) if parameter in _DURATIONS else value


def _from_operator(
    table: Mapping[str, object], known: Mapping[str, Expression | int], where: str
) -> Expression:
    name = _text(table, "op", where)
    function = _function(name, f"{where}.op")
    parameters = list(inspect.signature(function).parameters)
    _known_keys(table, (*parameters, *_TEXT_KEYS), where)
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in parameters:
            continue
        if key in _DURATIONS:
            values[key] = _seconds(value, f"{where}.{key}")
        elif key in _WORDS or name in _OF_A_FIELD or not isinstance(value, str):
            values[key] = tuple(value) if isinstance(value, list) else value
        else:
            values[key] = parse_expression(value, known, f"{where}.{key}")
    return _call(name, [], values, where)


def _function(name: str, where: str) -> Callable[..., Expression]:
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(name, FUNCTIONS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FUNCTIONS)}"
        raise ConfigError(f"{where}: there is no operator {name!r}; {hint}")
    return FUNCTIONS[name]


def _call(name: str, arguments: list[Any], named: Mapping[str, object], where: str) -> Expression:
    function = _function(name, where)
    signature = inspect.signature(function)
    _known_keys(named, tuple(signature.parameters), f"{where}: {name}")
    try:
        bound = signature.bind(*arguments, **named)
    except TypeError as error:
        raise ConfigError(
            f"{where}: {name}: {error}; it takes {', '.join(signature.parameters)}"
        ) from None
    for key, value in bound.arguments.items():
        kind = str(signature.parameters[key].annotation)
        if kind.startswith("Expression") and isinstance(value, int) and "int" not in kind:
            bound.arguments[key] = ex.const(value)
        elif not _fits(kind, value):
            shown = "an expression" if isinstance(value, Expression) else repr(value)
            raise ConfigError(f"{where}: {name}: {key} = {shown} must be of type {kind}")
    try:
        return function(*bound.args, **bound.kwargs)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _fits(kind: str, value: object) -> bool:
    """True when a value fits an annotation of :mod:`tinyfin.features.expressions`."""
    if isinstance(value, Expression):
        return "Expression" in kind
    if isinstance(value, bool):
        return kind == "bool"
    if isinstance(value, int):
        return kind == "int" or "| int" in kind
    if isinstance(value, str):
        return kind in ("str", "Key") or kind.startswith("Literal")
    return (
        isinstance(value, tuple)
        and "[" in kind
        and all(isinstance(item, str if "str" in kind else int) for item in value)
    )


def _seconds(value: object, where: str) -> object:
    if not isinstance(value, str):
        return value
    from tinyfin.config.durations import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise ConfigError(f"{where} = {value!r}: {error}") from None


def _text(table: Mapping[str, object], key: str, where: str, otherwise: str = "") -> str:
    value = table.get(key, otherwise)
    if not isinstance(value, str):
        raise ConfigError(f"{where}.{key} = {value!r}: must be text")
    return value


def _known_keys(given: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {key!r}; {hint}")
