"""What people write instead of CEL, and what to tell them: from the parser's complaint to one sentence and a place."""

from __future__ import annotations

import re

from engine.policy.cel.functions import FUNCTIONS
from engine.policy.cel.problems import CelProblem

_WORDS = {
    "and": "write &&", "AND": "write &&", "or": "write ||", "OR": "write ||", "not": "write !", "NOT": "write !",
    "is": "write ==", "eq": "write ==", "ne": "write !=", "then": "write condition ? yes : no",
    "if": "write condition ? yes : no", "else": "write condition ? yes : no", "xor": "write !=", "IN": "write in",
    "like": "write .contains(…) or .matches(…)",
}  # fmt: skip
_SIGNS = (
    ("!==", "write !="), ("===", "write =="), ("=~", "write .matches(…)"), ("=>", "write >= or a condition ? yes : no"),
    ("=<", "write <="), ("<>", "write !="), ("??", "write default(a.b, c)"), ("?.", "facts are complete; write a plain dot, or default(a.b, c)"),
    ("**", "write the product out"), ("&", "write &&"), ("|", "write ||"), ("=", "write == to compare"), ("~", "write ! or .matches(…)"),
    ("“", 'write a plain "'), ("”", 'write a plain "'), ("‘", "write a plain '"), ("’", "write a plain '"),
    ("`", "write the name without `"), ("$", "write the fact's name without $"), ("@", "write the fact's name without @"),
    ("#", "a comment starts with //"), (";", "an expression has one part and no ;"), ("≠", "write !="), ("≤", "write <="), ("≥", "write >="),
)  # fmt: skip
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LAST_WORD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*$")
_SIGN_CHARACTERS = "=!<>&|?*~"

LITERAL_WORDS = {
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "nil": "null", "NULL": "null", "undefined": "null",
}  # fmt: skip
"""Other languages' names for CEL's three literal words."""


def explain(source: str, at: int | None, found: str, wanted: frozenset[str]) -> CelProblem:
    """The problem for a parser that stopped at offset `at` (None: at the end) on `found`, where it could take `wanted`."""
    if at is None or not found:
        return _too_short(source, wanted)
    if found[0] in "\"'":
        return _quote(source, at, found)
    previous = _LAST_WORD.search(source, 0, at)
    if previous and previous[1] in _WORDS:
        return _word(previous[1], previous.start(1))
    if word := _WORD.match(source, at):
        return _word_at(source, at, word[0])
    if sign := _sign(source, at):
        return sign
    if found in ")]}":
        if source[:at].rstrip().endswith(","):
            return CelProblem(
                "cel-syntax", at, at + 1, f"nothing stands between ',' and {found!r}", "leave out the last comma"
            )
        return CelProblem("cel-syntax", at, at + 1, f"{found!r} closes nothing here", "count the brackets")
    if found == "?":
        return CelProblem("cel-syntax", at, at + 1, "a ? inside a ? needs parentheses", "write a ? (b ? c : d) : e")
    if found == ":":
        return CelProblem("cel-syntax", at, at + 1, "':' without its '?'", "write condition ? yes : no")
    return CelProblem("cel-syntax", at, at + len(found), f"{found!r} can't stand here")


def _too_short(source: str, wanted: frozenset[str]) -> CelProblem:
    end = len(source.rstrip())
    start = max(end - 1, 0)
    if not end:
        return CelProblem(
            "cel-syntax", 0, len(source), "the expression is empty", "write true for a rule that always holds"
        )
    for token, bracket in (("RPAR", ")"), ("RSQB", "]"), ("RBRACE", "}")):
        if token in wanted:
            return CelProblem("cel-syntax", start, end, f"a {bracket!r} is missing at the end")
    if "COLON" in wanted:
        return CelProblem("cel-syntax", start, end, "the ':' of a '?' is missing", "write condition ? yes : no")
    if (last := _LAST_WORD.search(source, 0, end)) and last[1] in _WORDS:
        return _word(last[1], last.start(1))
    return CelProblem("cel-syntax", start, end, "the expression ends too early", "a value is missing after it")


def _quote(source: str, at: int, found: str) -> CelProblem:
    if len(found) > 1:
        return CelProblem(
            "cel-syntax",
            at,
            at + len(found),
            "a string can't stand here",
            "a quote inside a string is written \\\" or \\'",
        )
    line = source.find("\n", at)
    end = len(source) if line < 0 else line
    hint = 'over several lines write """…"""' if line >= 0 else ""
    return CelProblem("cel-syntax", at, max(end, at + 1), "a string is not closed", hint)


def _word(word: str, at: int) -> CelProblem:
    return CelProblem(
        "cel-syntax", at, at + len(word), f"{word!r} is not CEL", _WORDS[word if word in _WORDS else word.lower()]
    )


def _word_at(source: str, at: int, word: str) -> CelProblem:
    end = at + len(word)
    if word == "not" and re.match(r"\s+in\b", source[end:]):
        return CelProblem("cel-syntax", at, end, "'not in' is not CEL", "write !(a in b)")
    if word in _WORDS:
        return _word(word, at)
    if source[at - 1 : at].isdigit():
        start = at - len(source[:at]) + len(source[:at].rstrip("0123456789."))
        hint = "write it without _" if word.startswith("_") else "write the number in full"
        return CelProblem("cel-syntax", start, end, f"{source[start:end]!r} is not a number", hint)
    function = FUNCTIONS.get(word)
    if function and function.method:
        return CelProblem(
            "cel-syntax", at, end, f"{word!r} can't stand between two values", f"write it as {function.example}"
        )
    if word in {"true", "false"}:
        return CelProblem("cel-syntax", at, end, f"{word!r} can't stand here", 'a field of that name is written ["…"]')
    return CelProblem("cel-syntax", at, end, f"{word!r} can't stand here", "an operator is missing before it")


def _sign(source: str, at: int) -> CelProblem | None:
    start = at
    while start and source[start - 1] in _SIGN_CHARACTERS and source[at] in _SIGN_CHARACTERS:
        start -= 1
    for begin in range(start, at + 1):
        for sign, hint in _SIGNS:
            if source.startswith(sign, begin) and begin + len(sign) > at:
                return CelProblem("cel-syntax", begin, begin + len(sign), f"{sign!r} is not CEL", hint)
    return None
