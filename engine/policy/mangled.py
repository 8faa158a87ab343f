"""Expressions that YAML did not leave alone, because they were not quoted.

CEL and YAML share their punctuation: `!x` is a tag, `*x` an alias, `"a" in b` a quoted value with rubbish behind it, ` #` a
comment, `>5` the header of an empty block. Some of that is an error of YAML's, some of it silently another value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from engine.policy.nodes import Node, Source
from engine.policy.problems import Problem

QUOTE_IT = "quote the expression: '…', or put it on the lines below `|`"

CUT = "YAML ends this expression at ' #'; the rest of the line is a comment"

_EXPRESSION_KEYS = frozenset({"when", "require", "order"})
_EXPRESSION_LINE = re.compile(r"""(?:^|[\s{,"'])(?:when|require|order)["']?\s*:\s""")
_OPERATORS = re.compile(r"&&|\|\||[=!<>]=")

_PLAINER = (
    ("mapping values are not allowed", "YAML finds a second ': ' in this line"),
    ("cannot start any token", "YAML does not let a value begin with this character"),
    ("did not find expected key", "YAML expects a key here: something follows a value, or the indentation is off"),
    ("expected <block end>", "YAML expects a key here: something follows a value, or the indentation is off"),
    ("could not find expected ':'", "YAML misses a ':' after a key"),
    ("did not find expected ',' or '}'", "YAML misses a ',' or '}'"),
    ("expected ',' or '}'", "YAML misses a ',' or '}'"),
    ("did not find expected ',' or ']'", "YAML misses a ',' or ']'"),
    ("expected ',' or ']'", "YAML misses a ',' or ']'"),
    ("did not find expected '-' indicator", "YAML expects another '- ' item: the indentation is off"),
    ("expected whitespace or line break", "YAML reads what begins with ! as a tag"),
    ("expected alphabetic or numeric", "YAML reads what begins with & or * as an anchor or alias"),
    ("undefined tag handle", "YAML reads what begins with ! as a tag"),
    ("unexpected end of stream", "a quote is opened and not closed"),
    ("unknown escape character", 'YAML does not know this escape in "…"'),
    ("block scalar", "YAML can't read what follows > or |"),
    ("chomping or indentation", "YAML can't read what follows > or |"),
    ("expected comment or line break", "YAML can't read what follows > or |"),
)
"""What PyYAML says (its two parsers differ) → the same in words that help."""


def reads_expression(section: str, key: str) -> bool:
    """Whether the value of `key` is an expression; `section` is the top-level key it stands under."""
    return key in _EXPRESSION_KEYS or section == "vars"


def explain_syntax(source: Source, error: Any) -> Problem:
    """A YAML error as a problem, with a hint when the line holds an expression."""
    mark = error.problem_mark or error.context_mark
    at = min(mark.index, max(len(source.text) - 1, 0)) if mark is not None else 0
    said = str(getattr(error, "problem", None) or error)
    opened = error.context_mark.index if error.context_mark is not None else at
    if "unexpected end of stream" in said or not source.line(source.place(at)[0]).strip():
        at = opened
    message = next((plainer for words, plainer in _PLAINER if words in said), f"this is not YAML: {said}")
    number = source.place(at)[0]
    # An error may be seen only on the line after the one that caused it.
    lines = [source.line(n) for n in (number, number - 1) if n > 0]
    hint = ""
    if "unexpected end of stream" in said:
        hint = "close it on this line"
    elif "unknown escape" in said:
        hint = "double the backslash, or use single quotes"
    elif any(_EXPRESSION_LINE.search(line) for line in lines) or _below_vars(source, number):
        hint = QUOTE_IT
    elif "\t" in lines[0][: len(lines[0]) - len(lines[0].lstrip())]:
        hint = "indent with spaces, not with tabs"
    elif "flow" in str(error.context) and source.place(opened)[0] < number:
        line, column = source.place(opened)
        hint = f"it is opened at line {line}, column {column}"
    elif "mapping values" in said or "any token" in said:
        hint = "quote the text"
    return source.problem(at, at + 1, "yaml-syntax", message, hint=hint)


def _below_vars(source: Source, number: int) -> bool:
    line = source.line(number)
    if not line.startswith(" "):
        return False
    above = (source.line(n) for n in range(number - 1, 0, -1))
    return next((text.startswith("vars:") for text in above if text.strip() and not text.startswith((" ", "#"))), False)


def mangled_expressions(root: Node) -> list[Problem]:
    """Expressions of the tree that YAML took for something else without an error."""
    found: list[Problem] = []
    for node, parent in _expressions(root):
        if empty_block(node):
            what = _raw(node).split("\n")[0]
            message = f"YAML reads '{what}' as the header of a block of text, which is empty"
            found.append(node.problem("yaml-unquoted-cel", message, hint=QUOTE_IT))
        elif node.style == "" and parent.style == "{" and any(_left_over(n) for n in parent.map.values()):
            message = "a comma ended this expression inside { }"
            found.append(node.problem("yaml-unquoted-cel", message, hint=QUOTE_IT))
    return found


def empty_block(node: Node) -> bool:
    """Whether the value is `>5` or the like: the header of a block of text with nothing below."""
    return node.style in {"|", ">"} and not node.text and bool(re.match(r"[|>][+-]?\S", _raw(node)))


def looks_cut(node: Node) -> bool:
    """Whether the comment behind an unquoted expression looks like the rest of it."""
    return bool(_OPERATORS.search(comment_after(node)))


def comment_after(node: Node) -> str:
    """The comment that ends a plain scalar's line, empty when there is none."""
    if node.style or not isinstance(node.value, str):
        return ""
    line_end = node.source.text.find("\n", node.end)
    rest = node.source.text[node.end : line_end if line_end >= 0 else None]
    return rest if rest.lstrip().startswith("#") else ""


def _left_over(node: Node) -> bool:
    """What stands behind a comma without being `key: value`."""
    return node.value is None and node.start == node.end


def _raw(node: Node) -> str:
    return node.source.text[node.start : node.end]


def _expressions(root: Node) -> Iterator[tuple[Node, Node]]:
    """(expression, the mapping it stands in) of the whole tree."""
    for section, below in root.map.items():
        stack = [below]
        while stack:
            node = stack.pop()
            stack += node.items
            for key, value in node.map.items():
                if (
                    value.value is not None
                    and not isinstance(value.value, tuple | dict)
                    and reads_expression(section, key)
                ):
                    yield value, node
                else:
                    stack.append(value)
