"""Checks a file's shape against its JSON Schema and says what is wrong in words of the file, not of the schema.

Every problem is told, each at the node that is at fault: an unknown key at the key, a missing one at the mapping's key. The
schemas hold the human text of a pattern as `x-message`, and mark expressions by `x-cel`. `jsonschema` takes a tenth of a
second to import, so that happens only here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from engine.policy.mangled import QUOTE_IT
from engine.policy.nodes import Node, masked
from engine.policy.problems import Problem
from engine.policy.suggest import did_you_mean, listing

_SCHEMAS = (
    "policy.schema.json", "providers.schema.json", "models.schema.json", "facts.schema.json", "policy-test.schema.json"
)  # fmt: skip

_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "nothing",
}
_BOOLEAN_WORDS = re.compile(r"(?i)(y|yes|n|no|on|off)")
_GROUPED_NUMBER = re.compile(r"[0-9]+([_,][0-9]{3})+")
_SECRET_NAME = re.compile(r"(?i)key|token|secret|password|credential")
_LONGEST = 60


def check_shape(root: Node, schema: str, folder: Path) -> tuple[list[Problem], Node]:
    """Problems of a file's shape, and the tree without what is at fault, so that later checks go on with the rest.

    `schema` is the schema's file name, `folder` where the schemas lie.
    """
    found: dict[tuple[int, int, str, str], Problem] = {}
    faulty: set[Node] = set()
    errors = [(root.follow(e.absolute_path), e) for e in _validator(schema, folder).iter_errors(root.plain())]
    for node, error in errors:
        for secret in _secrets(node, error):
            secret.source.hide(secret.start, secret.end)
    for node, error in errors:
        faulty |= _faulty(node, error)
        if not node.broken:
            for problem in _told(node, error):
                found.setdefault((problem.span.line, problem.span.column, problem.rule, problem.message), problem)
    return list(found.values()), without(root, faulty)


def without(node: Node, faulty: AbstractSet[Node]) -> Node:
    """The tree without the nodes of `faulty` and those that the reader refused."""

    def stays(below: Node) -> bool:
        return below not in faulty and not below.broken

    if isinstance(node.value, dict):
        kept = {key: without(n, faulty) for key, n in node.value.items() if stays(n)}
        return replace(node, value=kept, flawed=node.flawed or len(kept) < len(node.value))
    if isinstance(node.value, tuple):
        items = tuple(without(n, faulty) for n in node.value if stays(n))
        return replace(node, value=items, flawed=node.flawed or len(items) < len(node.value))
    return node


def _secrets(node: Node, error: Any) -> list[Node]:
    """Values that may be a key which somebody wrote where none belongs."""
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        return [below for name, below in node.map.items() if name not in known and _SECRET_NAME.search(name)]
    return [node] if error.schema.get("x-secret") else []


def _faulty(node: Node, error: Any) -> set[Node]:
    if "propertyNames" in error.absolute_schema_path:
        return {node.map[error.instance]} if error.instance in node.map else set()
    if error.validator == "additionalProperties":
        return {below for name, below in node.map.items() if name not in error.schema.get("properties", {})}
    return set() if error.validator == "required" else {node}


@lru_cache(maxsize=8)
def _validator(schema: str, folder: Path) -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow to import, and not needed for shipped policies
    from referencing import Registry  # noqa: PLC0415
    from referencing.jsonschema import DRAFT202012  # noqa: PLC0415

    contents = {name: orjson.loads((folder / name).read_bytes()) for name in _SCHEMAS}
    resources = [(name, DRAFT202012.create_resource(content)) for name, content in contents.items()]
    # No retrieval function: a reference can lead to these files and nowhere else.
    registry: Any = Registry().with_resources(resources)
    return Draft202012Validator(contents[schema], registry=registry)


def _told(node: Node, error: Any) -> list[Problem]:
    if "propertyNames" in error.absolute_schema_path:
        return [_bad_name(node, error)]
    tell = _TELL.get(error.validator)
    return (
        tell(node, error) if tell else [node.problem("schema-value", _message(error, f"{_shown(node)} does not fit"))]
    )


def _bad_name(node: Node, error: Any) -> Problem:
    name = str(error.instance)
    at = node.map.get(name, node)
    return at.problem("schema-name", _message(error, f"'{name}' is no name for this"), at_key=True)


def _unknown_keys(node: Node, error: Any) -> list[Problem]:
    known = error.schema.get("properties", {})
    told = []
    for name, below in node.map.items():
        if name not in known:
            guess = did_you_mean(name, known)
            hint = "" if guess or not known else f"known here: {listing(known)}"
            if _SECRET_NAME.search(name) and "api_key_env" in known:
                guess, hint = "", "keys come from the environment: `api_key_env` names the variable that holds one"
            told.append(below.problem("schema-unknown-key", f"unknown key '{name}'{guess}", hint=hint, at_key=True))
    return told


def _missing(node: Node, error: Any) -> list[Problem]:
    if node.flawed:
        return []
    absent = [name for name in error.validator_value if name not in node.map]
    words = " and ".join(f"`{name}`" for name in absent)
    return [
        node.problem(
            "schema-missing", f"{words} is missing" if len(absent) == 1 else f"{words} are missing", at_key=True
        )
    ]


def _wrong_type(node: Node, error: Any) -> list[Problem]:
    allowed = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    wanted = [word for word in allowed if word != "null"]
    words = " or ".join(_WORDS[word] for word in wanted)
    return [
        node.problem("schema-type", f"this must be {words}, not {_kind(node)}", hint=_type_hint(node, error, wanted))
    ]


def _type_hint(node: Node, error: Any, wanted: list[str]) -> str:
    text = node.text
    if "x-cel" in error.schema:
        return QUOTE_IT
    if "boolean" in wanted and isinstance(node.value, str) and _BOOLEAN_WORDS.fullmatch(text):
        return f"write {'true' if text.lower() in {'y', 'yes', 'on'} else 'false'}: YAML 1.2 has no {text}"
    if {"integer", "number"} & set(wanted) and isinstance(node.value, str):
        if _GROUPED_NUMBER.fullmatch(text):
            return "write " + re.sub("[_,]", "", text)
        if node.style and re.fullmatch(r"[-+]?[0-9.]+", text):
            return "take the quotes away"
    if "string" in wanted and isinstance(node.value, bool | int | float):
        return f"quote it: '{text}'"
    if "string" in wanted and node.value is None:
        return "write a value, or take the key away"
    if "array" in wanted and isinstance(node.value, str) and not text.isspace():
        return f"write [{text}]" if len(text) < _LONGEST else ""
    return ""


def _wrong_word(node: Node, error: Any) -> list[Problem]:
    if "x-message" in error.schema:
        return [node.problem("schema-value", error.schema["x-message"])]
    allowed = [_yaml(value) for value in error.validator_value]
    text = node.text if isinstance(node.value, str) else _yaml(node.value)
    guess = did_you_mean(text, allowed)
    hint = "" if guess else f"one of: {listing(allowed)}"
    if isinstance(node.value, str) and _BOOLEAN_WORDS.fullmatch(text) and True in error.validator_value:
        hint = _type_hint(node, error, ["boolean"])
    return [node.problem("schema-value", f"{_shown(node)} is not allowed here{guess}", hint=hint)]


def _wrong_pattern(node: Node, error: Any) -> list[Problem]:
    return [node.problem("schema-value", _message(error, f"{_shown(node)} is not written as it must be"))]


def _bound(words: str) -> Callable[[Node, Any], list[Problem]]:
    def told(node: Node, error: Any) -> list[Problem]:
        return [node.problem("schema-value", f"{_shown(node)} is out of range: {words} {_yaml(error.validator_value)}")]

    return told


def _size(words: str) -> Callable[[Node, Any], list[Problem]]:
    def told(node: Node, error: Any) -> list[Problem]:
        text = _message(error, words.format(error.validator_value))
        return [node.problem("schema-value", text, at_key=not node.items)]

    return told


_TELL: Mapping[str, Callable[[Node, Any], list[Problem]]] = {
    "additionalProperties": _unknown_keys,
    "required": _missing,
    "type": _wrong_type,
    "enum": _wrong_word,
    "pattern": _wrong_pattern,
    "minimum": _bound("at least"),
    "maximum": _bound("at most"),
    "exclusiveMinimum": _bound("more than"),
    "minLength": _size("this must not be empty"),
    "minItems": _size("this list must not be empty"),
    "maxItems": _size("this list is longer than {}"),
    "minProperties": _size("this mapping must not be empty"),
    "maxProperties": _size("this mapping holds too much"),
}


def _message(error: Any, otherwise: str) -> str:
    return str(error.schema.get("x-message", otherwise))


def _kind(node: Node) -> str:
    match node.value:
        case None:
            return "nothing"
        case bool():
            return f"the boolean {node.text}"
        case int() | float():
            return f"the number {node.text}"
        case str():
            return f"the text {_shown(node)}"
        case dict():
            return "a mapping"
        case _:
            return "a list"


def _shown(node: Node) -> str:
    if isinstance(node.value, str):
        text = node.text if len(node.text) <= _LONGEST else node.text[:_LONGEST] + "…"
        return f"'{masked(text)}'"
    return _yaml(node.value) if not isinstance(node.value, dict | tuple) else _kind(node)


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else str(value)
