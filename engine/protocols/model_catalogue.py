"""A provider's list of models, read from whichever shape it has. Pure.

Lists come as `{"data": [...]}`, `{"models": [...]}` or a bare array; an entry is named by `id`, `model` or `name`. What an entry
claims beyond its name is taken where it is said plainly and left unknown where not: most lists say nothing, and silence is
no capability.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import re2

from engine.llm.errors import ProviderError
from engine.llm.frozen import dataclass

_CONTEXT = (
    "context_length",
    "context_window",
    "max_context_length",
    "max_model_len",
    "max_input_tokens",
    "inputTokenLimit",
)
_OUTPUT = ("max_completion_tokens", "max_output_tokens", "max_tokens", "outputTokenLimit")
_ENDS = ("deprecation", "deprecation_date", "expiration_date", "retires_at", "shutdown_date")
_TOOLS = frozenset({"tools", "function_calling", "tool_calling", "tool_choice"})
_REASONING = frozenset({"reasoning", "thinking", "include_reasoning", "reasoning_effort"})
_VISION = frozenset({"vision", "image", "image_input"})
_DATE = re2.compile(r"^\d{4}-\d\d-\d\d")
_NO_TEXT = re2.compile(
    r"(?i)(^|[-_/.])(embed\w*|embedding|whisper|tts|dall-e|moderation|transcribe|rerank\w*|guard|image|audio|realtime|speech|"
    r"orpheus|sora|veo|imagen|aqa|ocr)([-_/.:]|$)"
)


@dataclass(slots=True, frozen=True)
class ListedModel:
    """What a list says of one model; None is: it does not say."""

    name: str
    context: int | None = None
    max_output: int | None = None
    tools: bool | None = None
    vision: bool | None = None
    reasoning: bool | None = None
    ends: str = ""
    """Date of its retirement, ISO 8601; empty: none announced."""

    @property
    def talks(self) -> bool:
        """Whether its name does not say that it is for something else than text: embeddings, speech, pictures."""
        return _NO_TEXT.search(self.name) is None


def read_models(payload: Any) -> list[ListedModel]:
    """The models of a list, each once, in its order. Raises ProviderError(broken) for what is no list of models."""
    if isinstance(payload, Mapping):
        listed = next((payload[key] for key in ("data", "models") if isinstance(payload.get(key), list)), None)
    else:
        listed = payload
    if not isinstance(listed, list):
        raise ProviderError("the provider's answer is no list of models", meaning="broken")
    found: dict[str, ListedModel] = {}
    for entry in listed:
        if isinstance(entry, Mapping) and (model := _read(entry)) is not None:
            found.setdefault(model.name, model)
    return list(found.values())


def next_page(payload: Any) -> str:
    """The id after which the next page begins, empty when this was the last."""
    if isinstance(payload, Mapping) and payload.get("has_more") is True:
        last = payload.get("last_id")
        return last if isinstance(last, str) else ""
    return ""


def _read(entry: Mapping[str, Any]) -> ListedModel | None:
    name = next((entry[key] for key in ("id", "model", "name") if isinstance(entry.get(key), str) and entry[key]), "")
    name = name.removeprefix("models/")
    if not name or any(c.isspace() for c in name) or not name.isprintable():
        return None
    claims = set(_claims(entry))
    told = bool(claims)
    return ListedModel(
        name=name,
        context=_number(entry, _CONTEXT),
        max_output=_number(entry, _OUTPUT) or _number(entry.get("top_provider"), _OUTPUT),
        tools=_says(entry, "function_calling", bool(claims & _TOOLS) if told else None),
        vision=_says(entry, "vision", bool(claims & _VISION) if told else None),
        reasoning=bool(claims & _REASONING) if told else None,
        ends=next(
            (entry[key][:10] for key in _ENDS if isinstance(entry.get(key), str) and _DATE.search(entry[key])), ""
        ),
    )


def _claims(entry: Mapping[str, Any]) -> Iterator[str]:
    """Words in the lists that entries have for what they can do."""
    architecture = entry.get("architecture")
    inputs = architecture.get("input_modalities") if isinstance(architecture, Mapping) else None
    for listed in (entry.get("supported_parameters"), entry.get("capabilities"), inputs):
        if isinstance(listed, list):
            yield from (word for word in listed if isinstance(word, str))


def _says(entry: Mapping[str, Any], capability: str, otherwise: bool | None) -> bool | None:
    capabilities = entry.get("capabilities")
    said = capabilities.get(capability) if isinstance(capabilities, Mapping) else None
    return said if isinstance(said, bool) else otherwise


def _number(entry: Any, names: tuple[str, ...]) -> int | None:
    if not isinstance(entry, Mapping):
        return None
    for name in names:
        value = entry.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
