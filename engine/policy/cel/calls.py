"""The checker's rules for function calls: name, form, number and types of arguments, and what must be written out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.policy.cel.fold import UNKNOWN
from engine.policy.cel.functions import EXTREME_KINDS, FUNCTIONS, VARIADIC, Function, zone
from engine.policy.cel.nodes import Call
from engine.policy.cel.patterns import pattern_error, swallowed_escape
from engine.policy.cel.problems import Fault
from engine.policy.cel.suggest import closest, listing
from engine.policy.cel.types import DYN, NAMED, STRING, ListOf, Type, plain

if TYPE_CHECKING:
    from engine.policy.cel.check import Checker

_OTHER_NAMES = {
    "len": "size", "length": "size", "count": "size", "includes": "contains", "has_prefix": "startsWith", "prefix": "startsWith",
    "toLowerCase": "lower", "lowerAscii": "lower", "toUpperCase": "upper", "upperAscii": "upper", "regex": "matches", "match": "matches",
    "float": "double", "number": "double", "str": "string", "toString": "string", "boolean": "bool", "date": "timestamp",
}  # fmt: skip
_MACRO_NAMES = {
    "any": "exists",
    "some": "exists",
    "every": "all",
    "find": "exists",
    "none": "exists",
    "one": "exists_one",
}


def check_call(checker: Checker, node: Call) -> Type:
    """The call's type; its arguments are already checked."""
    place = (node.name_start, node.name_start + len(node.name))
    function = FUNCTIONS.get(node.name)
    if function is None:
        return _unknown(checker, node, place)
    if node.method and not function.method:
        texts = ", ".join(map(checker.text, node.args))
        return checker.problem(
            "cel-call", place, f"{node.name}() stands before its value", f"write {node.name}({texts})"
        )
    if not node.method and not function.call:
        hint = f"write it like {function.example}"
        if node.args:
            rest = ", ".join(map(checker.text, node.args[1:]))
            hint = f"write {checker.text(node.args[0])}.{node.name}({rest})"
        return checker.problem("cel-call", place, f"{node.name}() stands behind its value", hint)
    kind = _extreme(checker, node, place) if node.name in VARIADIC else _overload(checker, node, function, place)
    _written_out(checker, node)
    return kind


def _unknown(checker: Checker, node: Call, place: tuple[int, int]) -> Type:
    if macro := _MACRO_NAMES.get(node.name):
        return checker.problem("cel-call", place, f"no function {node.name!r}", f"write list.{macro}(item, condition)")
    guess = _OTHER_NAMES.get(node.name) or closest(node.name, FUNCTIONS)
    also = f"; did you mean {guess!r}?" if guess else ""
    hint = f"like {FUNCTIONS[guess].example}" if guess else listing(FUNCTIONS)
    return checker.problem("cel-call", place, f"no function {node.name!r}{also}", hint)


def _overload(checker: Checker, node: Call, function: Function, place: tuple[int, int]) -> Type:
    own = 1 if node.method else 0
    counts = sorted({len(wanted) - own for wanted, _ in function.overloads})
    given = len(node.args) - own
    if given not in counts:
        wanted = " or ".join(map(str, counts))
        noun = "argument" if counts == [1] else "arguments"
        return checker.problem(
            "cel-call", place, f"{node.name}() takes {wanted} {noun}, not {given}", f"like {function.example}"
        )
    kinds = [plain(checker.types[a]) for a in node.args]
    fitting = [o for o in function.overloads if len(o[0]) == len(kinds)]
    for index, kind in enumerate(kinds):
        before = fitting
        fitting = [o for o in fitting if kind == DYN or o[0][index] == kind.kind]
        if not fitting:
            wanted = " or ".join(dict.fromkeys(o[0][index] for o in before))
            hint = _receiver_hint(checker, node, kind) if index == 0 else ""
            return checker.problem("cel-type", node.args[index], f"{node.name}() needs {wanted}, not {kind}", hint)
    results = {result for _, result in fitting}
    if node.name == "join" and isinstance(kinds[0], ListOf) and plain(kinds[0].item) not in (STRING, DYN):
        hint = f"write {checker.text(node.args[0])}.map(x, string(x)).join(…)"
        return checker.problem("cel-type", node.args[0], f"join() needs list(string), not {kinds[0]}", hint)
    return NAMED[results.pop()] if len(results) == 1 else DYN


def _receiver_hint(checker: Checker, node: Call, kind: Type) -> str:
    if kind.kind == "list" and node.name == "contains":
        return f"write {checker.text(node.args[1])} in {checker.text(node.args[0])}"
    if kind.kind == "list" and node.name in {"startsWith", "endsWith", "matches"}:
        rest = ", ".join(map(checker.text, node.args[1:]))
        return f"write {checker.text(node.args[0])}.exists(x, x.{node.name}({rest}))"
    if kind.kind in {"int", "double"} and node.name in {"contains", "startsWith", "endsWith", "matches"}:
        return f"write string({checker.text(node.args[0])})"
    return ""


def _extreme(checker: Checker, node: Call, place: tuple[int, int]) -> Type:
    if len(node.args) < 2:
        return checker.problem(
            "cel-call", place, f"{node.name}() takes two or more values", f"like {FUNCTIONS[node.name].example}"
        )
    kind = checker.settle(node.args, "mix")
    if kind is None or (kind != DYN and kind.kind not in EXTREME_KINDS):
        kinds = " and ".join(dict.fromkeys(str(plain(checker.types[a])) for a in node.args))
        return checker.problem(
            "cel-type", node, f"{node.name}() needs numbers, times or durations of one type, not {kinds}"
        )
    return kind


def _written_out(checker: Checker, node: Call) -> None:
    """Patterns are compiled and time zones looked up at load, as far as they are constants; zones must be."""
    if node.name == "matches" and len(node.args) == 2:
        pattern = checker.constants.get(node.args[1], UNKNOWN)
        if isinstance(pattern, str) and (told := pattern_error(pattern)):
            checker.problem("cel-regex", node.args[1], f"not a regular expression: {told}", "the syntax is RE2's")
        elif isinstance(pattern, str) and (lost := swallowed_escape(pattern)):
            message = f"{lost} was read as a control character before it came to the pattern"
            checker.problem("cel-regex", node.args[1], message, f'write r"…{lost}…" in single quotes or below `|`')
    if node.name.startswith("get") and len(node.args) == 2:
        name = checker.constants.get(node.args[1], UNKNOWN)
        if not isinstance(name, str):
            checker.problem(
                "cel-type", node.args[1], "the time zone must be written out", 'like "Europe/Berlin" or "+02:00"'
            )
            return
        try:
            zone(name)
        except Fault:
            checker.problem("cel-type", node.args[1], f"no time zone {name!r}", 'like "Europe/Berlin" or "+02:00"')
