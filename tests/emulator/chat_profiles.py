"""Chat Completions as different vendors serve it: one row per vendor kind, the rules and answers read the row.

`openai` is OpenAI's own; `strict` stands for vendors that validate messages closely and name the property they refuse (Groq's
words); `deepseek` ignores what it doesn't know but insists that reasoning comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.emulator import models as rows
from tests.emulator.models import Model
from tests.emulator.refusal import Refusal, deepseek_error, groq_error, openai_error
from tests.emulator.shape import Fields, fields
from tests.emulator.tokens import DEEPSEEK, GROQ, OPENAI, Keeping

_COMMON = (
    "frequency_penalty logit_bias logprobs max_completion_tokens max_tokens metadata n parallel_tool_calls presence_penalty"
    " reasoning_effort response_format seed service_tier stop store stream stream_options temperature tool_choice tools"
    " top_logprobs top_p user"
)
OPENAI_TOP = fields(
    "model messages",
    _COMMON + " audio function_call functions modalities moderation prediction prompt_cache_key prompt_cache_options"
    " prompt_cache_retention safety_identifier verbosity web_search_options",
)
STRICT_TOP = fields("model messages", _COMMON + " reasoning_format include_reasoning")
DEEPSEEK_TOP = fields("model messages", _COMMON + " thinking")

MESSAGES: dict[str, Fields] = {
    "system": fields("role content", "name"),
    "developer": fields("role content", "name"),
    "user": fields("role content", "name"),
    "assistant": fields("role", "content name refusal tool_calls audio function_call annotations"),
    "tool": fields("role content tool_call_id"),
    "function": fields("role content name"),
}
STRICT_MESSAGES: dict[str, Fields] = {
    "system": fields("role content"),
    "user": fields("role content"),
    "assistant": fields("role", "content tool_calls"),
    "tool": fields("role content tool_call_id", "name"),
}
GEMINI_MESSAGES = STRICT_MESSAGES | {"assistant": fields("role", "content tool_calls extra_content")}
DEEPSEEK_MESSAGES = {
    "system": MESSAGES["system"],
    "user": MESSAGES["user"],
    "assistant": fields("role", "content name tool_calls reasoning_content prefix"),
    "tool": MESSAGES["tool"],
}
PARTS: dict[str, Fields] = {
    "text": fields("type text", "prompt_cache_breakpoint"),
    "image_url": fields("type image_url", "prompt_cache_breakpoint"),
    "input_audio": fields("type input_audio", "prompt_cache_breakpoint"),
    "file": fields("type file", "prompt_cache_breakpoint"),
    "refusal": fields("type refusal"),
}
PLAIN_PARTS: dict[str, Fields] = {"text": fields("type text"), "image_url": fields("type image_url")}
PARTS_BY_ROLE = {
    "system": ("text",),
    "developer": ("text",),
    "tool": ("text",),
    "assistant": ("text", "refusal"),
    "user": ("text", "image_url", "input_audio", "file"),
}


def _openai_unknown(path: str, _: str) -> Refusal:
    return Refusal(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def _groq_unknown(path: str, role: str) -> Refusal:
    """`messages[1].x` in Groq's words; `role` is the message's role, empty outside messages."""
    dotted = path.replace("[", ".").replace("]", "")
    place, _, name = dotted.rpartition(".")
    if not place:
        return Refusal(f"property '{name}' is unsupported")
    at = ".".join(place.split(".")[:2])
    return Refusal(
        f"'{at}' : for 'role:{role}' the following must be satisfied[('{place}' : property '{name}' is unsupported)]"
    )


@dataclass(slots=True, frozen=True)
class ChatProfile:
    """One vendor kind."""

    name: str
    models: Mapping[str, Model]
    top: Fields
    messages: Mapping[str, Fields]
    parts: Mapping[str, Fields]
    envelope: Callable[[Refusal, str], dict[str, Any]]
    unknown: Callable[[str, str], Refusal]
    ignores_unknown: bool = False
    """Unknown parameters are dropped without a word (unknown fields of messages too)."""
    reasoning_field: str = ""
    """Where the answer carries its reasoning."""
    wants_reasoning: bool = False
    """Reasoning of the turns that called tools must come back."""
    signs_calls: bool = False
    """The first call of an answer bears a signature, which must come back with it until the user speaks again."""
    usage_in_last_chunk: bool = False
    """A stream reports usage in its finish chunk whether asked or not; else in a chunk of its own when asked."""
    null_fields: bool = True
    """Answers carry `refusal: null`, `logprobs: null` and the like."""
    obfuscates: bool = False
    call_id: tuple[str, int] = ("call_", 24)
    keeping: Keeping = OPENAI
    """How it keeps prompts."""


PROFILES: dict[str, ChatProfile] = {
    "openai": ChatProfile(
        "openai", rows.GPT, OPENAI_TOP, MESSAGES, PARTS, openai_error, _openai_unknown, obfuscates=True
    ),
    "strict": ChatProfile(
        "strict",
        rows.STRICT,
        STRICT_TOP,
        STRICT_MESSAGES,
        PLAIN_PARTS,
        groq_error,
        _groq_unknown,
        reasoning_field="reasoning",
        usage_in_last_chunk=True,
        null_fields=False,
        call_id=("", 9),
        keeping=GROQ,
    ),
    "deepseek": ChatProfile(
        "deepseek",
        rows.DEEPSEEK,
        DEEPSEEK_TOP,
        DEEPSEEK_MESSAGES,
        PLAIN_PARTS,
        deepseek_error,
        _openai_unknown,
        ignores_unknown=True,
        reasoning_field="reasoning_content",
        wants_reasoning=True,
        usage_in_last_chunk=True,
        call_id=("call_00_", 24),
        keeping=DEEPSEEK,
    ),
    "gemini": ChatProfile(
        "gemini",
        rows.GEMINI,
        STRICT_TOP,
        GEMINI_MESSAGES,
        PLAIN_PARTS,
        openai_error,
        _openai_unknown,
        signs_calls=True,
        usage_in_last_chunk=True,
        null_fields=False,
        call_id=("function-call-", 20),
    ),
}
