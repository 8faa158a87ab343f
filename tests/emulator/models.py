"""What each emulated model accepts, as rows: limits, sampling, thinking, forced tools, prefill.

The flags follow the vendors' public model pages: no sampling parameters from Claude Opus 4.7 and GPT-5 on, no prefill from
Claude 4.6 on, thinking that cannot be turned off and no forced tools on Claude 5.5, budgets refused from 4.7 on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(slots=True, frozen=True)
class Model:
    """One model's flags. The defaults are those of a plain model without reasoning."""

    context: int = 200_000
    max_output: int = 64_000
    sampling: bool = True
    """Takes `temperature`, `top_p`, `top_k`, penalties."""
    thinking: frozenset[str] = frozenset()
    """Accepted `thinking.type` values; empty: a thinking parameter is refused."""
    always_thinks: bool = False
    """Thinks when the request says nothing about it."""
    efforts: tuple[str, ...] = ()
    """Accepted effort levels; empty: the parameter is refused."""
    prefill: bool = True
    forced_tool: bool = True
    bound_thinking: bool = False
    """A thinking block is bound to system, tools and messages before it (Claude 5.1 and later: preserved thinking)."""
    legacy_max_tokens: bool = True
    """Chat: takes `max_tokens`; reasoning models of OpenAI want `max_completion_tokens`."""
    tools_with_effort_on_chat: bool = True
    """Chat: function tools may be combined with a reasoning effort other than `none`."""
    vision: bool = True
    cache_smallest: int = 1024
    """Anthropic: tokens of the shortest prefix that is cached."""


BUDGET = frozenset({"enabled", "disabled"})
EITHER = frozenset({"enabled", "adaptive", "disabled"})
ADAPTIVE = frozenset({"adaptive", "disabled"})
ONLY_ADAPTIVE = frozenset({"adaptive", "between_tools"})
THREE = ("low", "medium", "high")
FIVE = ("low", "medium", "high", "xhigh", "max")

_BUDGET_CLAUDE = Model(thinking=BUDGET)
_LATE_BUDGET_CLAUDE = replace(_BUDGET_CLAUDE, cache_smallest=4096)
_NEW_CLAUDE = Model(
    context=1_000_000, max_output=128_000, sampling=False, thinking=ADAPTIVE, efforts=FIVE, prefill=False
)
_NEWEST_CLAUDE = replace(
    _NEW_CLAUDE, thinking=ONLY_ADAPTIVE, always_thinks=True, forced_tool=False, bound_thinking=True, cache_smallest=512
)
_OLD_GPT = Model(context=1_047_576, max_output=32_768)
_GPT5 = Model(
    context=400_000,
    max_output=128_000,
    sampling=False,
    always_thinks=True,
    legacy_max_tokens=False,
    efforts=("minimal", "low", "medium", "high"),
)
_GPT56 = replace(_GPT5, context=1_050_000, efforts=("none", *FIVE), tools_with_effort_on_chat=False)
_OSS = Model(context=131_072, max_output=65_536, always_thinks=True, efforts=THREE, vision=False)

CLAUDE: dict[str, Model] = {
    "claude-3-5-haiku-20241022": Model(max_output=8192),
    "claude-haiku-4-5": _LATE_BUDGET_CLAUDE,
    "claude-haiku-4-5-20251001": _LATE_BUDGET_CLAUDE,
    "claude-sonnet-4-5": _BUDGET_CLAUDE,
    "claude-sonnet-4-5-20250929": _BUDGET_CLAUDE,
    "claude-opus-4-5": replace(_LATE_BUDGET_CLAUDE, efforts=THREE),
    "claude-sonnet-4-6": replace(_NEW_CLAUDE, sampling=True, thinking=EITHER, efforts=("low", "medium", "high", "max")),
    "claude-opus-4-6": replace(
        _NEW_CLAUDE, sampling=True, thinking=EITHER, efforts=("low", "medium", "high", "max"), cache_smallest=4096
    ),
    "claude-opus-4-7": replace(_NEW_CLAUDE, cache_smallest=2048),
    "claude-opus-4-8": _NEW_CLAUDE,
    "claude-sonnet-5": _NEW_CLAUDE,
    "claude-opus-5": replace(_NEW_CLAUDE, always_thinks=True, cache_smallest=512),
    "claude-haiku-5-5": _NEWEST_CLAUDE,
    "claude-sonnet-5-5": _NEWEST_CLAUDE,
    "claude-opus-5-5": _NEWEST_CLAUDE,
}
"""Rows of the Anthropic wire."""

GPT: dict[str, Model] = {
    "gpt-4o": replace(_OLD_GPT, context=128_000, max_output=16_384),
    "gpt-4o-mini": replace(_OLD_GPT, context=128_000, max_output=16_384),
    "gpt-4.1": _OLD_GPT,
    "gpt-4.1-mini": _OLD_GPT,
    "o4-mini": replace(_GPT5, context=200_000, max_output=100_000, efforts=THREE),
    "gpt-5": _GPT5,
    "gpt-5-mini": _GPT5,
    "gpt-5.1": replace(_GPT5, efforts=("none", *THREE)),
    "gpt-5.2": replace(_GPT5, efforts=("none", *THREE, "xhigh")),
    "gpt-5.4": replace(_GPT56, efforts=("none", *THREE, "xhigh")),
    "gpt-5.5": replace(_GPT56, efforts=("none", *THREE, "xhigh")),
    "gpt-5.6-sol": _GPT56,
    "gpt-6.1-sol": replace(_GPT56, efforts=FIVE),
}
"""Rows of the Responses wire and of OpenAI's own Chat Completions."""

STRICT: dict[str, Model] = {
    "openai/gpt-oss-120b": _OSS,
    "openai/gpt-oss-20b": _OSS,
    "qwen/qwen3.8-27b": replace(_OSS, max_output=16_384, vision=True),
    "llama-4-coder": Model(context=131_072, max_output=32_768),
}
"""Rows of the strict Chat Completions profile."""

GEMINI: dict[str, Model] = {
    "gemini-3.5-pro": Model(context=1_048_576, max_output=65_536, always_thinks=True, efforts=THREE),
}
"""Rows of Gemini behind Chat Completions."""

DEEPSEEK: dict[str, Model] = {
    "deepseek-flash": Model(context=1_000_000, max_output=393_216, always_thinks=True, thinking=BUDGET, efforts=FIVE),
    "deepseek-v4-pro": Model(
        context=1_000_000, max_output=393_216, always_thinks=True, thinking=BUDGET, efforts=FIVE, vision=False
    ),
}
"""Rows of the profile that wants its reasoning back."""
