"""What a translation can lose: the closed list of codes, how bad each is, and which protocol carries what.

A request's `requires` (from its survey) names the codes of everything in it that some protocol cannot carry. The losses of a
candidate are then plain set arithmetic, so a policy can read them before anything is sent:

    losses = requires − CARRIES[candidate's protocol] − what the model's row `supports`, plus what the row lacks

Severity: `none` (the meaning is unchanged), `soft` (quality, cost or convenience suffers), `hard` (the agent would break, so
the candidate drops out unless the policy allows the code). An encoder reports the codes it really dropped; a test keeps that
within what was declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

Severity = Literal["none", "soft", "hard"]

LOSSES: Mapping[str, tuple[Severity, str]] = {
    "cache_control": ("soft", "prompt-cache breakpoints; the prompt may be billed in full"),
    "thinking.signature": ("soft", "sealed reasoning of an earlier turn; the model does not see its own thoughts"),
    "thinking.foreign": ("soft", "sealed reasoning that another provider or model made; it goes to nobody else"),
    "thinking.budget": ("none", "a thinking budget in tokens, given as an effort level or within other bounds instead"),
    "thinking.off": ("none", "the wish that the model does not think, where the target has no word for it"),
    "effort": ("soft", "the asked effort level"),
    "effort.word": ("soft", "an effort level that the target does not have; the nearest one is asked for"),
    "server_tool": ("hard", "a tool that the provider itself runs (web search, code execution)"),
    "server_tool.result": ("hard", "results of a provider-run tool in the history"),
    "web_search": ("soft", "the offered web search tool; the model can't search"),
    "custom_tool": ("hard", "a tool with free text input under a grammar"),
    "tool_search": ("soft", "deferred tools and tool references; all tools are shown, or only those already loaded"),
    "namespace": ("none", "tool namespaces, flattened into prefixed function names"),
    "document": ("hard", "a PDF or other document"),
    "image": ("hard", "an image"),
    "image.tool_result": ("soft", "an image in a tool result, sent in a user message after it"),
    "tool_result.error": ("none", "a tool result's error flag, said in its text instead"),
    "tool_result.order": (
        "none",
        "the place of tool results among what was said, moved to where the target wants them",
    ),
    "tool_result.missing": ("soft", "nothing: a tool call that nobody answered is given a result which says so"),
    "tool_result.orphan": (
        "soft",
        "a tool result's tie to its call, which is not there; its content is said by the user",
    ),
    "tool.repeated": ("soft", "a second tool of the same name; the model sees the first"),
    "system.mid": ("none", "a system message in mid-conversation, sent as a developer or user message"),
    "output_format": ("soft", "structured output by JSON Schema, asked for in words or as plain JSON mode"),
    "output_format.json": ("soft", "JSON mode without a schema, asked for in words"),
    "top_k": ("soft", "top_k"),
    "seed": ("soft", "the seed"),
    "stop": ("soft", "stop sequences"),
    "stop.form": ("soft", "stop sequences that the target does not take: more than four, or white space alone"),
    "sampling": ("soft", "temperature or top_p"),
    "sampling.range": (
        "soft",
        "temperature, top_p or top_k beyond what the target takes side by side, brought within it or left out",
    ),
    "sampling.bias": ("soft", "penalties for repetition, or biases of single tokens"),
    "verbosity": ("soft", "how long answers shall be"),
    "logprobs": ("hard", "token log probabilities"),
    "choices": ("hard", "more than one answer (n > 1)"),
    "audio": ("hard", "audio in or out"),
    "service_tier": ("none", "the asked service tier"),
    "context_management": ("none", "server-side context editing"),
    "compaction": ("hard", "server-side compaction or its result, sealed by another provider"),
    "compaction.summary": ("soft", "compaction by the provider; the model is asked for a summary in words instead"),
    "previous_response": ("hard", "a conversation kept by the provider (previous_response_id, conversation)"),
    "prefill": ("soft", "an answer begun by the client for the model to continue"),
    "citations": ("soft", "citations"),
    "annotations": ("none", "the sources noted beside an earlier answer"),
    "image.detail": ("none", "how closely to look at an image"),
    "own_field": (
        "none",
        "a word that only its own protocol has: a speaker's name, a message's phase, which reasoning to keep",
    ),
    "container": ("hard", "a provider-side container, file or MCP server"),
    "forced_tool": ("soft", "being forced to call a tool"),
    "parallel_tools": ("none", "the wish for or against parallel tool calls"),
    "max_output_tokens": ("none", "the output limit, lowered to the model's own"),
    "user": ("none", "the end user's id"),
    "user.long": ("none", "the end user's id, replaced by its digest or left out because it is too long"),
    "unknown_field": ("none", "a field that the gateway does not know"),
    "unknown_block": ("hard", "a content block or item that the gateway does not know"),
    "background": ("hard", "an answer made in the background and fetched later"),
}
"""code → (severity, what is lost, in words). Codes are stable: they stand in policies and in recorded events."""

CARRIES: Mapping[str, frozenset[str]] = {
    "anthropic-messages": frozenset(
        {
            "cache_control",
            "custom_tool",
            "thinking.off",
            "effort",
            "document",
            "image",
            "image.tool_result",
            "tool_result.error",
            "system.mid",
            "output_format",
            "top_k",
            "stop",
            "sampling",
            "prefill",
            "citations",
            "forced_tool",
            "parallel_tools",
            "max_output_tokens",
            "user",
        }
    ),
    "openai-chat": frozenset(
        {
            "image.detail",
            "logprobs",
            "sampling.bias",
            "verbosity",
            "custom_tool",
            "image",
            "tool.repeated",
            "output_format",
            "output_format.json",
            "seed",
            "stop",
            "sampling",
            "sampling.range",
            "effort",
            "forced_tool",
            "parallel_tools",
            "max_output_tokens",
            "user",
            "service_tier",
            "system.mid",
        }
    ),
    "openai-responses": frozenset(
        {
            "image.detail",
            "logprobs",
            "verbosity",
            "custom_tool",
            "image",
            "document",
            "image.tool_result",
            "tool_result.order",
            "tool.repeated",
            "output_format",
            "output_format.json",
            "sampling",
            "sampling.range",
            "effort",
            "forced_tool",
            "parallel_tools",
            "max_output_tokens",
            "user",
            "service_tier",
            "system.mid",
        }
    ),
}
"""protocol → codes that survive a translation into it. On the same protocol (preserve) everything survives."""


def severity(code: str) -> Severity:
    """How bad losing `code` is; an unlisted code is `hard`."""
    entry = LOSSES.get(code)
    return entry[0] if entry else "hard"


def lost(requires: Iterable[str], protocol: str) -> frozenset[str]:
    """Codes of `requires` that a translation into `protocol` cannot carry."""
    return frozenset(requires) - CARRIES[protocol]
