"""`GET /v1/models` in OpenAI's shape, which more than one protocol's clients expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.llm.messages import JsonObject


def openai_models(models: list[Mapping[str, Any]]) -> JsonObject:
    """The list object. Each mapping is as in `WireProtocol.encode_models`; missing members get neutral values."""
    return {"object": "list", "data": [openai_model(model) for model in models]}


def openai_model(model: Mapping[str, Any]) -> JsonObject:
    """One entry. Limits ride along under the names that agents look for; clients skip members they do not know."""
    entry: JsonObject = {
        "id": str(model.get("id", "")),
        "object": "model",
        "created": int(model.get("created") or 0),
        "owned_by": str(model.get("owned_by") or "sbgw"),
    }
    if name := model.get("display_name"):
        entry["display_name"] = name
    if context := model.get("context"):
        entry["context_length"] = context
    if limit := model.get("max_output"):
        entry["max_output_tokens"] = limit
    return entry
