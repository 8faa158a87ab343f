"""Is this tool call one of those that the request offered, with arguments that fit its schema?

A call that is not is brought right where only one thing can be meant: a name in another case, without or with a needless
prefix, with a control token stuck to it; arguments that are JSON but for a slip (`argument_repair`). Anything else is a fault
with a stable code. What is said about it holds names from the request only, never what the model wrote.

Nothing is compiled before the first call of a tool is judged: an answer in plain text costs nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import orjson

from engine.llm.frozen import dataclass
from engine.llm.messages import JsonObject, Tool, ToolCall
from engine.protocols.argument_repair import repaired

Fault = Literal["", "unknown_tool", "not_json", "schema"]
"""What is wrong with a call: no such tool was offered, its arguments are no JSON object, or they do not fit the schema."""

_WRAPPERS = frozenset({"functions", "function", "tools", "tool", "default_api", "mcp"})
"""Prefixes that models put before any tool's name."""

_LONGEST_PATH = 120
_REMEMBERED = 64
"""Tool lists whose schemas stay compiled; a session sends the same one with every request."""


@dataclass(slots=True, frozen=True)
class Checked:
    """The judgement of one call."""

    call: ToolCall
    """As it may be handed on: the call itself, or what it can only mean."""
    fault: Fault = ""
    message: str = ""
    """What is wrong, without a word of the model's."""


class OfferedTools:
    """The tools of one request. The same for every request with the same list."""

    __slots__ = ("_by_name", "_loose", "_served", "_validators")

    def __init__(self, tools: Iterable[Tool], *, served: bool) -> None:
        """`served`: the provider speaks the client's protocol, so calls of the tools that it serves may come."""
        self._served = served
        self._by_name: dict[tuple[str, str], Tool] = {}
        self._loose: dict[str, set[tuple[str, str]]] = {}
        self._validators: dict[tuple[str, str], Any] = {}
        for tool in tools:
            if tool.kind == "namespace":
                for member in tool.members:
                    self._add(tool.name, member)
            else:
                self._add("", tool)

    def check(self, call: ToolCall) -> Checked:
        """Judge `call`. Costs about 50 µs (measured with an agent's shell tool), a compilation more for a tool's first one."""
        key: tuple[str, str] | None = (call.namespace, call.name)
        if key not in self._by_name and self._served and ("", call.name) in self._by_name:
            key = ("", call.name)  # a vendor's own tool search gives what it found a namespace; the client knows it
        if key not in self._by_name:
            key = self._meant(call)
            if key is None:
                return Checked(call, "unknown_tool", "it called a tool that was not offered")
            call = replace(call, namespace=key[0], name=key[1])
        tool = self._by_name[key]
        if call.kind == "custom" or tool.kind != "function":
            return Checked(call)
        try:
            value = orjson.loads(call.arguments) if call.arguments.strip() else {}
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            value = repaired(call.arguments)
            if value is None:
                return Checked(call, "not_json", f"its arguments for {tool.name} are not a JSON object")
            call = replace(call, arguments=orjson.dumps(value).decode())
        where = self._misfit(key, tool, value)
        if where:
            return Checked(call, "schema", f"its arguments for {tool.name} do not fit the tool's schema ({where})")
        return Checked(call)

    def _add(self, namespace: str, tool: Tool) -> None:
        if tool.kind == "server" and not self._served:
            return  # no client runs it, and this provider does not either
        key = (namespace, tool.name)
        self._by_name[key] = tool
        for name in {tool.name, f"{namespace}__{tool.name}" if namespace else tool.name, tool.name.split("__")[-1]}:
            self._loose.setdefault(_folded(name), set()).add(key)

    def _meant(self, call: ToolCall) -> tuple[str, str] | None:
        """The one offered tool that a name nobody offered can only mean."""
        name = call.name.partition("<|")[0].strip()
        head, mark, number = name.rpartition(":")
        if mark and number.isdecimal():  # functions.get_weather:0 is an id that some take for the name
            name = head
        named = f"{call.namespace}__{name}" if call.namespace else name
        for said in (named, name, _unwrapped(name)):
            if ("", said) in self._by_name:
                return ("", said)
            if keys := self._loose.get(_folded(said)):
                return next(iter(keys)) if len(keys) == 1 else None
        return None

    def _misfit(self, key: tuple[str, str], tool: Tool, value: JsonObject) -> str:
        """Where `value` breaks the tool's schema, empty if it does not or nobody can tell."""
        if key not in self._validators:
            self._validators[key] = _validator(tool.schema)
        validator = self._validators[key]
        if validator is None:
            return ""
        from jsonschema.exceptions import UnknownType  # noqa: PLC0415
        from referencing.exceptions import Unresolvable  # noqa: PLC0415

        try:
            error = next(validator.iter_errors(value), None)
        except (Unresolvable, UnknownType, RecursionError, re.error, ValueError, TypeError, LookupError):
            return ""  # a schema that cannot be followed says nothing about the call
        return "" if error is None else ".".join(map(str, error.absolute_schema_path))[:_LONGEST_PATH]


class ToolCheckCache:
    """The offered tools by the digest of their list, bounded."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, bool], OfferedTools] = OrderedDict()

    def get(self, tools: Sequence[Tool], *, served: bool) -> OfferedTools:
        """`tools`, with what was compiled for the same ones before."""
        key = (hashlib.blake2b(orjson.dumps(tools, default=str), digest_size=16).digest(), served)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = OfferedTools(tools, served=served)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return found


def _unwrapped(name: str) -> str:
    """A name without the prefix that some models put before any tool's."""
    for separator in (".", ":", "/", "__"):
        prefix, _, rest = name.partition(separator)
        if prefix.casefold() in _WRAPPERS and rest:
            return rest
    return name


def _folded(name: str) -> str:
    """A name without what models get wrong in it: case and separators."""
    return "".join(char for char in name.casefold() if char.isalnum())


def _validator(schema: JsonObject | None) -> Any:
    """A validator that fetches nothing and matches patterns in linear time; None for a schema that is none."""
    if not schema:
        return None
    import referencing  # noqa: PLC0415 - a sixth of a second that a gateway with proven models never needs
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415
    from jsonschema.validators import Draft202012Validator, extend, validator_for  # noqa: PLC0415

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError:
        return None
    linear: Any = extend(kind, {"pattern": _pattern})  # type: ignore[no-untyped-call]
    return linear(schema, registry=referencing.Registry())


def _pattern(validator: Any, pattern: str, instance: Any, schema: Mapping[str, Any]) -> Any:
    import re2  # noqa: PLC0415
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415

    del validator, schema
    if not isinstance(instance, str):
        return
    options = re2.Options()
    options.log_errors = False
    try:
        found = re2.search(pattern, instance, options)
    except re2.error:  # look-around and the like: not for us to judge
        return
    if not found:
        yield ValidationError("the pattern does not match")
