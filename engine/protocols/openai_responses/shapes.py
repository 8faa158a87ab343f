"""What is known of this protocol's objects below the top of a request. Source: OpenAI's API reference, and what agents send."""

from __future__ import annotations

from engine.llm.messages import JsonObject
from engine.protocols.shapes import MARK, Shape

_TEXT = Shape("type text annotations logprobs", prompt_cache_breakpoint=MARK)
_PARTS = {
    "input_text": _TEXT,
    "output_text": _TEXT,
    "text": _TEXT,
    "refusal": Shape("type refusal"),
    "input_image": Shape("type image_url detail file_id", prompt_cache_breakpoint=MARK),
    "input_file": Shape("type filename file_data file_url file_id detail", prompt_cache_breakpoint=MARK),
}
"""What stands beside a text that a model said (its sources, its tokens) tells a model nothing."""
_THOUGHT = Shape("type text")
_OUR_OWN = "id status internal_chat_message_metadata_passthrough"
"""Accounting of the API and of one client."""
_CALL = Shape(f"type call_id name namespace arguments input {_OUR_OWN}")
_OUTPUT = Shape(f"type call_id name {_OUR_OWN}", output=_PARTS)
_ITEMS = {
    "message": Shape(None, content=_PARTS),
    "function_call": _CALL,
    "custom_tool_call": _CALL,
    "function_call_output": _OUTPUT,
    "custom_tool_call_output": _OUTPUT,
    "reasoning": Shape(f"type encrypted_content {_OUR_OWN}", summary=_THOUGHT, content=_THOUGHT),
}
_FUNCTION = Shape(
    "type name description parameters strict defer_loading", function=Shape("name description parameters strict")
)
_TOOLS = {
    "": _FUNCTION,
    "function": _FUNCTION,
    "custom": Shape("type name description defer_loading", format=Shape("type syntax definition")),
}
SETTINGS = Shape(
    None,
    tools={**_TOOLS, "namespace": Shape("type name description", tools=_TOOLS)},
    tool_choice=Shape("type name mode tools"),
    text=Shape(None, format=Shape("type name description schema strict")),
)
"""Everything beside the conversation."""


def strange(item: JsonObject) -> bool:
    """Whether an item bears a field that is not known; of a message, below its top."""
    kind = item.get("type") or "message"
    shape = _ITEMS.get(kind) if isinstance(kind, str) else None
    return shape is not None and shape.strange(item)
