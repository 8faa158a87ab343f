"""From source text to nodes: cel-python's grammar does the parsing, this module the profile.

Only the grammar that ships in cel-python is used, with a parser built from it once, lazily. Its own front end is left
alone: `CELParser` drops the place of every `true` and `false`, `celpy.Environment` raises the process's recursion limit, and
its CompiledRunner runs generated code in shared globals and answers wrongly under threads. Everything outside the profile
is refused here, with a place and a way out, so that evaluators meet known nodes only. Limits hold before anything walks
the tree: characters before parsing, depth and nodes while building.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.policy.cel import literals, nodes, tables
from engine.policy.cel.mistakes import LITERAL_WORDS, explain
from engine.policy.cel.problems import CelProblem, CelProblems, ProblemKind

MAX_CHARACTERS, MAX_DEPTH, MAX_NODES = 4_000, 40, 500
MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})

_OPERATORS = {
    "relation_lt": "<", "relation_le": "<=", "relation_gt": ">", "relation_ge": ">=", "relation_eq": "==", "relation_ne": "!=",
    "relation_in": "in", "addition_add": "+", "addition_sub": "-", "multiplication_mul": "*", "multiplication_div": "/",
    "multiplication_mod": "%",
}  # fmt: skip
_REFUSED = {
    "type": "types are known when the policy is loaded; leave the test out",
    "dyn": "leave it out; values have their types",
    "uint": "there are no unsigned integers; use int()",
    "bytes": "there are no bytes; compare strings",
    "list": "write [ … ]",
    "map": "write { … }, or tags.map(t, …)",
    "null_type": "facts are never null",
    "coalesce": "use default(a.b, c)",
}


@dataclass(slots=True, frozen=True)
class Parsed:
    """An expression that keeps to the grammar and the profile; its types are not yet looked at."""

    source: str
    node: nodes.Node


def parse(source: str) -> Parsed:
    """Parse one expression; raises CelProblems with everything that is wrong before types matter."""
    if len(source) > MAX_CHARACTERS:
        message = f"an expression of {len(source):,} characters; at most {MAX_CHARACTERS:,} are taken"
        raise CelProblems(
            [CelProblem("cel-limit", 0, len(source), message, "long lists belong into a map of the policy")]
        )
    builder = _Builder(source)
    node = builder.build(_tree(source), 1)
    if builder.problems:
        raise CelProblems(builder.problems)
    return Parsed(source, node)


@cache
def _parser() -> Any:
    """The one LALR parser for cel-python's grammar, made when an expression is first read; safe under threads."""
    return tables.parser(grammar(), {"IDENT": _booleans})


def grammar() -> str:
    """The text of cel-python's grammar."""
    package = find_spec("celpy")
    if package is None or not package.submodule_search_locations:
        raise ImportError("cel-python is not installed", name="celpy")
    return Path(package.submodule_search_locations[0], "cel.lark").read_text(encoding="utf-8")


def _booleans(token: Any) -> Any:
    """The grammar reads `true` and `false` as identifiers too."""
    return token.update(type="BOOL_LIT") if token in {"true", "false"} else token


def _tree(source: str) -> Any:
    parser = _parser()
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken  # noqa: PLC0415

    try:
        return parser.parse(source)
    except UnexpectedToken as stop:
        at = None if stop.token.type == "$END" else stop.token.start_pos
        problem = explain(source, at, str(stop.token), frozenset(map(str, stop.accepts or ())))
    except UnexpectedCharacters as stop:
        problem = explain(source, stop.pos_in_stream, stop.char, frozenset())
    except UnexpectedInput as stop:
        problem = explain(source, stop.pos_in_stream, "", frozenset())
    raise CelProblems([problem])


class _Builder:
    """One pass over the parser's tree. Collects problems; only a limit stops it, since nothing behind one is trusted."""

    def __init__(self, source: str) -> None:
        self.problems: list[CelProblem] = []
        self._source = source
        self._nodes = 0
        self._in_macro = False
        self._rules: dict[str, Callable[[Any, int], nodes.Node]] = {
            "expr": self._choice, "conditionalor": self._chain, "conditionaland": self._chain, "relation": self._binary,
            "addition": self._binary, "multiplication": self._binary, "unary": self._unary, "member_dot": self._field,
            "member_index": self._item, "member_dot_arg": self._method, "member_object": self._message, "literal": self._literal,
            "ident": self._name, "ident_arg": self._call, "dot_ident": self._dotted, "dot_ident_arg": self._dotted,
            "list_lit": self._list, "map_lit": self._map,
        }  # fmt: skip

    def build(self, tree: Any, depth: int) -> nodes.Node:
        """The node for a tree; `depth` counts nodes from the top, parentheses and chains of the grammar don't."""
        # The grammar wraps every value in about ten one-child rules, and each parenthesis adds ten more.
        while tree.data not in self._rules or (len(tree.children) == 1 and tree.data in _CHAINS):
            tree = tree.children[0]
        self._nodes += 1
        meta = tree.meta
        if depth > MAX_DEPTH:
            self._limit(meta, f"nested deeper than {MAX_DEPTH} levels", "split it into vars")
        if self._nodes > MAX_NODES:
            self._limit(
                meta, f"more than {MAX_NODES} parts", "split it into vars, or test with `in` over a list of the policy"
            )
        return self._rules[tree.data](tree, depth)

    def _limit(self, meta: Any, message: str, hint: str) -> None:
        raise CelProblems([CelProblem("cel-limit", meta.start_pos, meta.end_pos, message, hint)])

    def _refuse(
        self, start: int, end: int, message: str, hint: str = "", kind: ProblemKind = "cel-syntax"
    ) -> nodes.Node:
        self.problems.append(CelProblem(kind, start, end, message, hint))
        return nodes.Literal(start, end, None)

    def _choice(self, tree: Any, depth: int) -> nodes.Node:
        condition, yes, no = (self.build(child, depth + 1) for child in tree.children)
        return nodes.Choice(tree.meta.start_pos, tree.meta.end_pos, condition, yes, no)

    def _chain(self, tree: Any, depth: int) -> nodes.Node:
        rule, spine = tree.data, [tree]
        while (left := spine[-1].children[0]).data == rule and len(left.children) == 2:
            spine.append(left)
        first = self.build(spine[-1].children[0], depth + 1)
        operands = (first, *(self.build(link.children[1], depth + 1) for link in reversed(spine)))
        return (nodes.Or if rule == "conditionalor" else nodes.And)(tree.meta.start_pos, tree.meta.end_pos, operands)

    def _binary(self, tree: Any, depth: int) -> nodes.Node:
        half, right = tree.children
        op = _OPERATORS[half.data]
        left = self.build(half.children[0], depth + 1)
        place = half.meta.end_pos - len(op)
        return nodes.Binary(tree.meta.start_pos, tree.meta.end_pos, op, place, left, self.build(right, depth + 1))

    def _unary(self, tree: Any, depth: int) -> nodes.Node:
        sign, operand = tree.children
        make = nodes.Not if sign.data == "unary_not" else nodes.Negate
        return make(tree.meta.start_pos, tree.meta.end_pos, self.build(operand, depth + 1))

    def _field(self, tree: Any, depth: int) -> nodes.Node:
        target, name = tree.children
        return nodes.Field(
            tree.meta.start_pos, tree.meta.end_pos, self.build(target, depth + 1), str(name), name.start_pos
        )

    def _item(self, tree: Any, depth: int) -> nodes.Node:
        target, key = (self.build(child, depth + 1) for child in tree.children)
        number = key.operand if isinstance(key, nodes.Negate) else key
        if (
            isinstance(number, nodes.Literal)
            and isinstance(number.value, int)
            and (key is not number or number.value < 0)
        ):
            return self._refuse(
                key.start, key.end, "a list has no item before the first", "count from 0; size(x) - 1 is the last"
            )
        return nodes.Item(tree.meta.start_pos, tree.meta.end_pos, target, key)

    def _message(self, tree: Any, _depth: int) -> nodes.Node:
        return self._refuse(
            tree.meta.start_pos, tree.meta.end_pos, "no message literals", 'a map is written {"key": value}'
        )

    def _dotted(self, tree: Any, _depth: int) -> nodes.Node:
        start = tree.meta.start_pos
        return self._refuse(start, start + 1, "a name starts with a letter or _", "leave out the first dot")

    def _name(self, tree: Any, _depth: int) -> nodes.Node:
        name, start, end = str(tree.children[0]), tree.meta.start_pos, tree.meta.end_pos
        if name in LITERAL_WORDS:
            return self._refuse(start, end, f"{name!r} is not CEL", f"write {LITERAL_WORDS[name]}")
        return nodes.Name(start, end, name)

    def _list(self, tree: Any, depth: int) -> nodes.Node:
        return nodes.ListLiteral(tree.meta.start_pos, tree.meta.end_pos, self._args(tree, 0, depth))

    def _map(self, tree: Any, depth: int) -> nodes.Node:
        parts = self._args(tree, 0, depth)
        seen: set[object] = set()
        for key in parts[::2]:
            value = key.value if isinstance(key, nodes.Literal) else None
            if value is not None and not isinstance(value, str):
                self._refuse(key.start, key.end, "a map's key must be a string", f'write "{value}"', "cel-type")
            elif value is not None and value in seen:
                self._refuse(key.start, key.end, f"the key {value!r} comes twice")
            seen.add(value)
        return nodes.MapLiteral(tree.meta.start_pos, tree.meta.end_pos, parts)

    def _args(self, tree: Any, at: int, depth: int) -> tuple[nodes.Node, ...]:
        return (
            tuple(self.build(child, depth + 1) for child in tree.children[at].children)
            if len(tree.children) > at
            else ()
        )

    def _literal(self, tree: Any, _depth: int) -> nodes.Node:
        token, start, end = tree.children[0], tree.meta.start_pos, tree.meta.end_pos
        text = str(token)
        try:
            match token.type:
                case "INT_LIT":
                    return nodes.Literal(start, end, literals.whole(text, start))
                case "FLOAT_LIT":
                    return nodes.Literal(start, end, literals.decimal(text, start))
                case "STRING_LIT" | "MLSTRING_LIT":
                    return nodes.Literal(start, end, literals.string(text, start))
                case "BOOL_LIT":
                    return nodes.Literal(start, end, text == "true")
                case "UINT_LIT":
                    return self._refuse(start, end, "there are no unsigned integers", f"write {text[:-1]}")
                case "BYTES_LIT":
                    return self._refuse(start, end, "there are no bytes", f"write {text[1:]}")
        except literals.BadLiteral as bad:
            self.problems.append(bad.problem)
        return nodes.Literal(start, end, None)

    def _call(self, tree: Any, depth: int) -> nodes.Node:
        name, start, end = tree.children[0], tree.meta.start_pos, tree.meta.end_pos
        args = self._args(tree, 1, depth)
        match str(name), args:
            case "has", (nodes.Field() as target,):
                return nodes.Has(start, end, target)
            case "has", _:
                return self._refuse(
                    start,
                    end,
                    "has() needs one field",
                    'write has(vars.name); a key is tested with "key" in map',
                    "cel-call",
                )
            case "default", (nodes.Field() | nodes.Item() as target, fallback):
                return nodes.Default(start, end, target, fallback)
            case "default", _:
                return self._refuse(
                    start, end, "default() needs a field and a fallback", "write default(vars.name, 0)", "cel-call"
                )
            case word, _ if word in _REFUSED:
                return self._refuse(start, end, f"no function {word}() here", _REFUSED[word], "cel-call")
            case word, _ if word in MACROS:
                hint = f"write it behind its list: request.tool_names.{word}(name, …)"
                return self._refuse(start, end, f"{word}() has no list", hint, "cel-call")
        return nodes.Call(start, end, str(name), name.start_pos, False, args)

    def _method(self, tree: Any, depth: int) -> nodes.Node:
        receiver, name = tree.children[0], tree.children[1]
        word = str(name)
        if word in MACROS:
            return self._macro(tree, depth)
        target = self.build(receiver, depth + 1)
        args = self._args(tree, 2, depth)
        if word == "reduce":
            return self._refuse(
                name.start_pos, name.end_pos, "no reduce() here", "use size(x.filter(…)), exists or all", "cel-call"
            )
        return nodes.Call(tree.meta.start_pos, tree.meta.end_pos, word, name.start_pos, True, (target, *args))

    def _macro(self, tree: Any, depth: int) -> nodes.Node:
        receiver, name = tree.children[0], tree.children[1]
        word, start, end = str(name), tree.meta.start_pos, tree.meta.end_pos
        if self._in_macro:
            hint = "work grows with the product of both lists; test against a list with `in`, or split it into vars"
            return self._refuse(name.start_pos, end, f"{word}() inside another macro", hint, "cel-limit")
        source = self.build(receiver, depth + 1)
        args = tree.children[2].children if len(tree.children) == 3 else []
        if len(args) != 2:
            hint = (
                "write x.filter(name, …).map(name, …)"
                if word == "map" and len(args) == 3
                else f"write x.{word}(name, expression)"
            )
            return self._refuse(name.start_pos, end, f"{word}() takes a name and an expression", hint, "cel-call")
        self._in_macro = True
        variable, body = self.build(args[0], depth + 1), self.build(args[1], depth + 1)
        self._in_macro = False
        if not isinstance(variable, nodes.Name):
            hint = f"write x.{word}(name, expression)"
            return self._refuse(
                variable.start, variable.end, f"{word}() needs a name for each item first", hint, "cel-call"
            )
        return nodes.Macro(start, end, word, name.start_pos, source, variable.name, variable.start, body)


_CHAINS = frozenset({"expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary"})
"""Rules of the grammar that mean something only with more than one child."""
