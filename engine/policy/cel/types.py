"""Types of facts and expressions, and how a JSON Schema becomes one.

Scalars are `int double string bool null timestamp duration`; `dyn` is what nothing is known about, and goes with
everything. A string with a closed set of values keeps that set, so that a comparison with any other text can be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(slots=True, frozen=True)
class Type:
    """`kind` is the word that overloads and messages use."""

    kind: str

    def __str__(self) -> str:
        return self.kind


@dataclass(slots=True, frozen=True)
class Choices(Type):
    """A string out of a closed set."""

    values: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class ListOf(Type):
    item: Type

    def __str__(self) -> str:
        return f"list({self.item})"


@dataclass(slots=True, frozen=True)
class MapOf(Type):
    """Any keys, all values of one type."""

    value: Type

    def __str__(self) -> str:
        return f"map({self.value})"


@dataclass(slots=True, frozen=True)
class Struct(Type):
    """A map whose fields are declared. With `rest`, other keys may exist too, of that type."""

    fields: Mapping[str, Type]
    rest: Type | None = None

    def __str__(self) -> str:
        return "struct"

    def with_field(self, name: str, value: Type) -> Struct:
        """The same struct with one field more, or replaced: how `vars` get the types of their expressions."""
        return replace(self, fields={**self.fields, name: value})


INT, DOUBLE, STRING, BOOL = Type("int"), Type("double"), Type("string"), Type("bool")
NULL, DYN, TIMESTAMP, DURATION = Type("null"), Type("dyn"), Type("timestamp"), Type("duration")


def list_of(item: Type) -> ListOf:
    return ListOf("list", item)


def map_of(value: Type) -> MapOf:
    return MapOf("map", value)


def struct(fields: Mapping[str, Type], rest: Type | None = None) -> Struct:
    """A closed struct; open with `rest`."""
    return Struct("map", dict(fields), rest)


_SCALARS = {"integer": INT, "number": DOUBLE, "boolean": BOOL, "null": NULL}
_FORMATS = {"date-time": TIMESTAMP, "duration": DURATION}
NAMED = {t.kind: t for t in (INT, DOUBLE, STRING, BOOL, TIMESTAMP, DURATION)} | {"list(string)": list_of(STRING)}
"""Result types by the words that the function table uses."""


def environment_from_schema(schema: Mapping[str, Any]) -> Struct:
    """The facts that a JSON Schema of an object describes, as the environment of expressions.

    Understood: `type` (a list drops `null`, facts have none), `properties`, `additionalProperties`, `items`, `enum` of
    strings, `format: date-time | duration`, `$ref` to `#/$defs/…` or `#/definitions/…`. An object with `properties` is
    closed unless `additionalProperties` says otherwise; `required` means nothing, since facts are complete. Anything else
    is `dyn`. Raises ValueError when the schema describes no object with properties or a `$ref` leads nowhere.
    """
    made = _Reader(schema).read(schema, ())
    if not isinstance(made, Struct):
        raise ValueError("the schema of facts must be an object with properties")  # noqa: TRY004 - the schema's content, not a Python type
    return made


class _Reader:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def read(self, schema: Any, seen: tuple[str, ...]) -> Type:
        """`seen` holds the references on the way here: a type inside itself is `dyn` from the second time on."""
        if not isinstance(schema, Mapping):
            return DYN
        if (ref := schema.get("$ref")) is not None:
            return DYN if ref in seen else self.read(self._follow(ref), (*seen, ref))
        word = schema.get("type")
        if isinstance(word, list):
            words = [w for w in word if w != "null"]
            word = words[0] if len(words) == 1 else None
        if word == "object":
            return self._object(schema, seen)
        if word == "array":
            return list_of(self.read(schema.get("items"), seen))
        values = schema.get("enum")
        if word in {"string", None} and isinstance(values, list) and values and all(isinstance(v, str) for v in values):
            return Choices("string", tuple(values))
        if word == "string":
            return _FORMATS.get(schema.get("format", ""), STRING)
        return _SCALARS.get(word or "", DYN)

    def _object(self, schema: Mapping[str, Any], seen: tuple[str, ...]) -> Type:
        more = schema.get("additionalProperties")
        rest = self.read(more, seen) if isinstance(more, Mapping) else DYN if more is True else None
        properties = schema.get("properties")
        if properties:
            return struct({name: self.read(value, seen) for name, value in properties.items()}, rest)
        return struct({}) if more is False else map_of(rest or DYN)

    def _follow(self, ref: str) -> Any:
        found: Any = self._root
        words = ref.removeprefix("#/").split("/")
        if not ref.startswith("#/") or words[0] not in {"$defs", "definitions"}:
            raise ValueError(f"$ref must point to #/$defs/…, not {ref!r}")
        for word in words:
            if not isinstance(found, Mapping) or word not in found:
                raise ValueError(f"$ref {ref!r} leads nowhere")
            found = found[word]
        return found


def plain(kind: Type) -> Type:
    """The type without its closed set of values."""
    return STRING if isinstance(kind, Choices) else kind


def unify(left: Type, right: Type) -> Type | None:
    """The type that holds values of both, None when only `dyn` could."""
    left, right = plain(left), plain(right)
    if left == right:
        return left
    if DYN in (left, right):
        return DYN
    match left, right:
        case ListOf(item=a), ListOf(item=b):
            item = unify(a, b)
            return None if item is None else list_of(item)
        case Type(kind="map"), Type(kind="map"):
            return map_of(DYN)
    return None
