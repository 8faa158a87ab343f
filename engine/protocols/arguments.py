"""Tool arguments: a JSON object on one wire, JSON text on the others.

Models write arguments that are no JSON, or JSON that is no object. A client that needs an object then gets the text under
one key, `raw_arguments`: nothing is lost or invented, the tool's own validation rejects it, and the model reads why.
"""

from __future__ import annotations

from typing import Any

import orjson

from engine.llm.messages import JsonObject

RAW = "raw_arguments"
"""Key of the unparsable text in the object that stands for it."""


def to_object(text: str) -> JsonObject:
    """The object that `text` says; `{}` for nothing at all, `{"raw_arguments": text}` for anything else. Never raises."""
    if not text.strip():
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {RAW: text}
    return value if isinstance(value, dict) else {RAW: text}


def to_text(value: Any) -> str:
    """JSON text of an object; text passes as it is, None and empty text are `{}`. Raises TypeError for what JSON can't say."""
    if value is None or value == "":
        return "{}"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def is_object(text: str) -> bool:
    """Whether `text` is a whole JSON object."""
    if not text.rstrip().endswith("}"):
        return False
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
