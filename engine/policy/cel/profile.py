"""What the expression language has, for readers of the documentation, and where it departs from cel-python and why."""

from __future__ import annotations

from engine.policy.cel.functions import FUNCTIONS, Function

NAME = "sbgw-cel/1"

DEVIATIONS: dict[str, str] = {
    "promotion": "A constant int beside a double is taken as a double (`x > 1`); cel-python fails, depending on the side.",
    "double-zero": "Doubles divide by zero as IEEE 754 says (-inf and NaN too); cel-python always gives +inf.",
    "string-bool": "`string(true)` is `true` as the standard says; cel-python writes `True`.",
    "string-time": "`string()` of times and durations keeps fractions of a second; cel-python drops them.",
    "negative-index": "A list has no item -1: an error, as in the standard; cel-python counts from the end.",
    "short-circuit": "What is not needed is not evaluated. The value is the same, only the work is less.",
    "macro-errors": "An error inside `map`, `filter` or `exists_one` is an ordinary error that `||` and `&&` may settle; in cel-python it escapes them.",
    "bool-only": "`&& || ! ?:` and macros take bools only; cel-python takes other values for true or false in places.",
    "dyn-equality": "Values of unlike types are unequal (numbers compare by value), as in today's standard; cel-python fails for some.",
    "dyn-numbers": "Ints and doubles of unknown type are compared and added by value; cel-python depends on the side.",
    "strict-conversion": "`int() double() bool() timestamp() duration()` take one documented form of text; cel-python takes what Python takes.",
    "int-bool": "`int(true)` is an error, as in the standard; cel-python gives 1.",
    "timestamp-int": "`timestamp(n)` takes seconds since 1970, as in the standard; cel-python has no such form.",
    "duration-speed": "`duration()` takes at most 32 characters in linear time; cel-python 0.5.0 needs exponential time for some texts.",
    "has-type": "`has(a.b)` where a is no map is an error, a missing key on the way to it is false; cel-python makes every error false.",
    "escapes": "An unknown escape such as `\\d` in a plain string is refused, as in the standard; cel-python keeps it.",
    "long-strings": "A line break inside a triple-quoted string is kept, as in the standard; cel-python drops it.",
    "contains-string": "`contains` is for strings; for lists and maps there is `in`. cel-python takes both.",
    "null-free": "Facts are never null, so comparing with null is refused at load.",
    "added": "`lower upper split join abs min max default` are ours; cel-python has none of them.",
    "in-map": "`x in map` of a key that is no string is false; cel-python fails for some.",
    "nan": "NaN equals nothing, inside lists too; Python's lists compare by identity first.",
}
"""Every known difference to cel-python's interpreter, by id: the tests exclude rows by these ids and by nothing else."""

_REFUSED = (
    "uint and bytes literals, message literals, `type()`, `dyn()`, `reduce`, a macro inside a macro, a list index below zero, "
    "regular expressions that RE2 refuses, expressions of more than 4,000 characters, 40 levels or 500 parts"
)

PROFILE = f"""Expressions are CEL, profile {NAME}.

Values: int (64 bits), double, string, bool, list, map, timestamp, duration. Facts are complete: no field is absent, none is null.
Literals: `1`, `0x1f`, `1.5`, `1e3`, `"text"`, `'text'`, `r"raw\\d"`, `\"\"\"several lines\"\"\"`, `true`, `false`, `[a, b]`, `{{"key": value}}`.
Operators: `! - * / % + == != < <= > >= in && || ?:`, with CEL's precedence; `//` starts a comment.
Macros over lists and over the keys of maps: `list.exists(x, …)`, `all`, `exists_one`, `filter`, `map`.
Presence: `has(vars.name)`, `default(vars.name, fallback)`.
Functions: {", ".join(f"`{name}`" for name in FUNCTIONS)}.
Numbers: an int and a double do not mix, write `double(x)`; a constant int beside a double is taken as a double.
Times: `timestamp("2026-01-31T08:00:00Z")`, durations `duration("1h30m")` with ns us ms s m h d; zones by IANA name or `+02:00`.
Errors: `false && error` is false and `true || error` is true, on either side; any other error is the expression's.
Refused at load: {_REFUSED}.
"""
"""The profile in plain words and Markdown."""


def _signatures(function: Function) -> str:
    """How it is called, with the kinds it takes: `string.contains(string) → bool`."""
    if not function.overloads:
        return f"{function.name}(a, b, …) of numbers, times or durations → the same"
    by_result: dict[str, list[str]] = {}
    for kinds, result in function.overloads:
        first, rest = (kinds[0], kinds[1:]) if function.method else ("", kinds)
        written = (
            f"{first}.{function.name}({', '.join(rest)})" if function.method else f"{function.name}({', '.join(rest)})"
        )
        by_result.setdefault(result, []).append(written)
    return "; ".join(f"{' | '.join(written)} → {result}" for result, written in by_result.items())


FUNCTION_TABLE = "Functions:\n\n" + "".join(
    f"- {_signatures(function)}\n  {function.example}\n" for function in FUNCTIONS.values()
)
"""Every function with its types and an example."""
