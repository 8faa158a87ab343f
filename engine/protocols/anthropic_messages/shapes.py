"""What is known of this protocol's objects below the top of a request. Source: Anthropic's API reference, and what agents send."""

from __future__ import annotations

from engine.protocols.shapes import MARK, Shape

_SOURCE = Shape("type media_type data url file_id content")
_SAID = {
    "text": Shape("type text citations", cache_control=MARK),
    "image": Shape("type", source=_SOURCE, cache_control=MARK),
    "document": Shape("type title context", source=_SOURCE, citations=Shape("enabled"), cache_control=MARK),
}
_BLOCKS = {
    **_SAID,
    "tool_use": Shape("type id name input", cache_control=MARK),
    "tool_result": Shape("type tool_use_id is_error", content=_SAID, cache_control=MARK),
    "thinking": Shape("type thinking signature"),
    "redacted_thinking": Shape("type data"),
}
_TOOL = Shape("type name description input_schema strict defer_loading", cache_control=MARK)
_FORMAT = Shape("type schema name strict")

MESSAGE = Shape(None, content=_BLOCKS)
SETTINGS = Shape(
    None,
    system=_SAID,
    tools={"": _TOOL, "custom": _TOOL},
    tool_choice=Shape("type name disable_parallel_tool_use"),
    thinking=Shape("type budget_tokens display"),
    output_config=Shape(None, format=_FORMAT),
    output_format=_FORMAT,
)
"""Everything beside the conversation."""
