"""Tool names for wires that know only flat functions with JSON arguments, and the way back.

A namespace's function becomes `namespace__function`, a name with other characters, over 64 of them or of a tool that is
really called so is shortened with a digest, and a custom tool (free text in) becomes a function with one string `input`. Everything is a pure function of the
request's tools, so the same conversation gives the same bytes, and the decoder of the answer, given the request, restores
the client's own names and kinds without any memory of ours.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

import re2

from engine.llm.messages import JsonObject, Tool, ToolCall
from engine.protocols.custom_text import INPUT, unwrapped

_NAME = re2.compile(r"[A-Za-z0-9_-]{1,64}")
_OTHER = re2.compile(r"[^A-Za-z0-9_-]")
_LONGEST = 64


class Origin(NamedTuple):
    """What a name on the wire stands for in the client's request."""

    name: str
    namespace: str = ""
    kind: Literal["function", "custom"] = "function"


class ToolNames:
    """The names of one request's tools. Made from the same tools it is always the same.

    They are worked out when the first one is asked for: an answer in plain text asks for none.
    """

    __slots__ = ("_origins", "_plain", "_tools", "_wires")

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: Iterable[Tool] | None = tools
        self._wires: dict[tuple[str, str], str] = {}
        self._origins: dict[str, Origin] = {}
        self._plain = True

    @property
    def plain(self) -> bool:
        """True when every name stands for itself and every tool is a function: nothing needs restoring."""
        self._work_out()
        return self._plain

    def _work_out(self) -> None:
        if self._tools is None:
            return
        tools, self._tools = self._tools, None
        offered: list[Origin] = []
        for tool in tools:
            if tool.kind == "namespace":
                offered += [Origin(m.name, tool.name, _kind(m)) for m in tool.members if m.kind != "server"]
            elif tool.kind != "server":
                offered.append(Origin(tool.name, "", _kind(tool)))
        # What can bear its own name does, whatever else would come to be called so.
        for origin in sorted(offered, key=lambda o: bool(o.namespace) or flat(o.name) != o.name):
            self._add(origin)
        grouped = Counter(o.name for o in self._origins.values() if o.namespace)
        for origin in offered:
            # Models sometimes answer with the function's bare name; where only one tool bears it, that one is meant.
            if origin.namespace and grouped[origin.name] == 1:
                self._origins.setdefault(origin.name, origin)

    def wire(self, name: str, namespace: str = "") -> str:
        """The name on the wire; for a tool that is no longer offered, what it would have been."""
        self._work_out()
        wire = self._wires.get((namespace, name))
        if wire is None:
            wire = self._wires[namespace, name] = flat(name, namespace)
        return wire

    def offers(self, name: str, namespace: str = "") -> bool:
        """Whether the request offers this tool itself, not only one that is called so on the wire."""
        self._work_out()
        return self._wires.get((namespace, name), "") in self._origins

    def origin(self, wire: str) -> Origin:
        """What a name in the answer stands for; a name nobody offered stands for itself."""
        self._work_out()
        return self._origins.get(wire) or Origin(wire)

    def restore(self, call: ToolCall) -> ToolCall:
        """`call` with the client's name, namespace and kind, the text of a custom tool unpacked from its argument."""
        if self.plain:
            return call
        origin = self._origins.get(call.name)
        if origin is None:
            return call
        text = unwrapped(call.arguments) if origin.kind == "custom" else call.arguments
        return dataclasses.replace(call, name=origin.name, namespace=origin.namespace, kind=origin.kind, arguments=text)

    def _add(self, origin: Origin) -> None:
        if (origin.namespace, origin.name) in self._wires:
            return  # offered twice
        wire = flat(origin.name, origin.namespace)
        identity = f"{origin.namespace}\0{origin.name}"
        while wire in self._origins:
            wire = _shortened(wire, identity)
            identity += "\0"
        self._wires[origin.namespace, origin.name] = wire
        self._origins[wire] = origin
        if wire != origin.name or origin.kind != "function":
            self._plain = False


def flat(name: str, namespace: str = "") -> str:
    """`name`, or `namespace__name`, within `[A-Za-z0-9_-]{1,64}`."""
    full = f"{namespace}__{name}" if namespace else name
    # The plain test is twenty times faster than the expression, and a request may name a hundred tools.
    plain = len(full) <= _LONGEST and full.isascii() and full.replace("_", "").replace("-", "").isalnum()
    return full if plain or _NAME.fullmatch(full) else _shortened(_OTHER.sub("_", full), f"{namespace}\0{name}")


def custom_description(tool: Tool) -> str:
    """What a model is told of a custom tool that it can only call as a function: its description, and its grammar."""
    form = tool.extra.get("format")
    grammar = form.get("definition") if isinstance(form, dict) else None
    if not isinstance(form, dict) or not isinstance(grammar, str):
        return tool.description
    said = f"The input must follow this {form.get('syntax') or ''} grammar:\n{grammar}"
    return f"{tool.description}\n\n{said}".strip()


def custom_schema(description: str = "") -> JsonObject:
    """The JSON Schema of a function that stands for a custom tool."""
    field: JsonObject = {"type": "string"}
    if description:
        field["description"] = description
    return {"type": "object", "properties": {INPUT: field}, "required": [INPUT], "additionalProperties": False}


def _kind(tool: Tool) -> Literal["function", "custom"]:
    return "custom" if tool.kind == "custom" else "function"


def _shortened(clean: str, identity: str) -> str:
    digest = hashlib.blake2b(identity.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{clean[: _LONGEST - 9]}_{digest}"
