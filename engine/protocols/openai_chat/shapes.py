"""What is known of this protocol's objects below the top of a request. Source: OpenAI's API reference, and what agents send."""

from __future__ import annotations

from typing import Any

from engine.llm.messages import JsonObject
from engine.protocols.shapes import MARK, Shape

_MARKED: dict[str, Any] = {"cache_control": MARK, "prompt_cache_breakpoint": MARK}
_PARTS = {
    "text": Shape("type text", **_MARKED),
    "refusal": Shape("type refusal"),
    "image_url": Shape("type", image_url=Shape("url detail"), **_MARKED),
    "file": Shape("type", file=Shape("filename file_data file_id"), **_MARKED),
    "thinking": Shape("type thinking signature closed"),
}
_FUNCTION = Shape("name description parameters strict")
_NAMED = Shape("name")
_TOOL = Shape("type", function=_FUNCTION, custom=Shape("name description format"), cache_control=MARK)

_RESULT = Shape("role tool_call_id name", content=_PARTS, cache_control=MARK)
_MESSAGE = Shape(
    None,
    content=_PARTS,
    tool_calls=Shape("type id index extra_content", function=Shape("name arguments"), custom=Shape("name input")),
    function_call=Shape("name arguments"),
)
SETTINGS = Shape(
    None,
    tools={"": _TOOL, "function": _TOOL, "custom": _TOOL},
    functions=_FUNCTION,
    tool_choice=Shape("type name", function=_NAMED, custom=_NAMED, allowed_tools=Shape("mode tools")),
    function_call=_NAMED,
    response_format=Shape("type", json_schema=Shape("name description schema strict")),
    stream_options=Shape("include_usage include_obfuscation"),
    thinking=Shape("type"),
)
"""Everything beside the conversation."""


def strange(message: JsonObject) -> bool:
    """Whether a message bears a field that is not known: below its top; a result, whose own fields nothing else judges, at it."""
    return (_RESULT if message.get("role") in ("tool", "function") else _MESSAGE).strange(message)
