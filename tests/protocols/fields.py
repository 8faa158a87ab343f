"""What of a request's and an answer's fields arrives on the other side, field by field: the material of `golden/fields.tsv`.

A field is put into a small request of one protocol, the request is translated into another, and what the field changed there
is its place; what it lost is told by codes. Nothing here knows how a field is mapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.llm.catalogue import Model, Provider
from engine.llm.losses import lost
from engine.llm.messages import JsonObject
from engine.llm.protocol import Target
from engine.protocols.registry import PROTOCOLS

MESSAGES, CHAT, RESPONSES = "anthropic-messages", "openai-chat", "openai-responses"
NAMES = (MESSAGES, CHAT, RESPONSES)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
MARK = {"type": "ephemeral"}
PARAMETERS = {"type": "object", "properties": {}}


@dataclass(slots=True, frozen=True)
class Case:
    """A field as one protocol's client sends it: members of the body over a plain one."""

    name: str
    client: str
    members: Mapping[str, Any] = field(default_factory=dict)


def _case(name: str, **by_client: Any) -> Iterator[Case]:
    for client, members in by_client.items():
        yield Case(name, {"messages": MESSAGES, "chat": CHAT, "responses": RESPONSES}[client], members)


def user(*parts: JsonObject) -> list[JsonObject]:
    """A conversation of one user message."""
    return [{"role": "user", "content": list(parts)}]


def spoken(*parts: JsonObject) -> list[JsonObject]:
    """A conversation in which the assistant has answered in these parts."""
    return [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": list(parts)},
        {"role": "user", "content": "On."},
    ]


def said(text: str, **more: Any) -> JsonObject:
    return {"type": "text", "text": text, **more}


PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}
LOCATION = {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None, "start_char_index": 0, "end_char_index": 1}  # fmt: skip
URL_NOTE = {"type": "url_citation", "url": "https://a.test/", "title": "A", "start_index": 0, "end_index": 1}

REQUESTS: tuple[Case, ...] = (
    *_case(
        "output.json_schema",
        messages={"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        chat={"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}},
        responses={"text": {"format": {"type": "json_schema", "name": "n", "strict": True, "schema": SCHEMA}}},
    ),
    *_case("output.json_schema.old", messages={"output_format": {"type": "json_schema", "schema": SCHEMA}}),
    *_case(
        "output.json_object",
        chat={"response_format": {"type": "json_object"}},
        responses={"text": {"format": {"type": "json_object"}}},
    ),
    *_case("output.text", chat={"response_format": {"type": "text"}}, responses={"text": {"format": {"type": "text"}}}),
    *_case(
        "verbosity", chat={"verbosity": "low"}, responses={"text": {"verbosity": "low"}}
    ),
    *(
        case
        for word in ("none", "minimal", "low", "medium", "high", "xhigh", "max")
        for case in _case(
            f"effort.{word}",
            **({"messages": {"output_config": {"effort": word}}} if word not in ("none", "minimal") else {}),
            chat={"reasoning_effort": word},
            responses={"reasoning": {"effort": word}},
        )
    ),
    *_case(
        "thinking.budget",
        messages={"thinking": {"type": "enabled", "budget_tokens": 4096}},
        chat={"reasoning": {"max_tokens": 4096}},
    ),
    *_case("thinking.budget.with_effort", messages={"thinking": {"type": "enabled", "budget_tokens": 4096}, "output_config": {"effort": "high"}}),
    *_case("thinking.adaptive", messages={"thinking": {"type": "adaptive"}}),
    *_case("thinking.display", messages={"thinking": {"type": "adaptive", "display": "omitted"}}),
    *_case(
        "thinking.off",
        messages={"thinking": {"type": "disabled"}},
        chat={"thinking": {"type": "disabled"}},
        responses={"reasoning": {"effort": "none"}},
    ),
    *_case("thinking.on", chat={"thinking": {"type": "enabled"}}),
    *_case("reasoning.enabled", chat={"reasoning": {"enabled": True}}),
    *_case("reasoning.exclude", chat={"reasoning": {"effort": "low", "exclude": True}}),
    *_case("reasoning.summary", responses={"reasoning": {"summary": "auto"}}),
    *_case("reasoning.context", responses={"reasoning": {"effort": "low", "context": "all_turns"}}),
    *_case("cache_mark.text", messages={"messages": user(said("Q", cache_control=MARK))}, chat={"messages": user(said("Q", cache_control=MARK))}, responses={"input": user({"type": "input_text", "text": "Q", "prompt_cache_breakpoint": {"type": "ephemeral"}})}),
    *_case("cache_mark.long", messages={"messages": user(said("Q", cache_control={**MARK, "ttl": "1h"}))}),
    *_case("cache_mark.system", messages={"system": [said("S", cache_control=MARK)]}, chat={"messages": [{"role": "system", "content": [said("S", cache_control=MARK)]}, *user(said("Q"))]}),
    *_case("cache_mark.tool", messages={"tools": [{"name": "t", "input_schema": PARAMETERS, "cache_control": MARK}]}, chat={"tools": [{"type": "function", "function": {"name": "t", "parameters": PARAMETERS}, "cache_control": MARK}]}),
    *_case("cache_mark.automatic", messages={"cache_control": MARK}),
    *_case("cache_key", chat={"prompt_cache_key": "k"}, responses={"prompt_cache_key": "k"}),
    *_case("cache_retention", chat={"prompt_cache_retention": "24h"}, responses={"prompt_cache_retention": "24h"}),
    *(
        case
        for word in ("auto", "default", "flex", "priority")
        for case in _case(f"tier.{word}", chat={"service_tier": word}, responses={"service_tier": word})
    ),
    *_case("tier.messages.auto", messages={"service_tier": "auto"}),
    *_case("tier.messages.standard_only", messages={"service_tier": "standard_only"}),
    *_case("speed", messages={"speed": "fast"}),
    *_case("seed", chat={"seed": 7}),
    *_case("seed.random", chat={"random_seed": 7}),
    *_case("stop", messages={"stop_sequences": ["END"]}, chat={"stop": ["END"]}),
    *_case("stop.text", chat={"stop": "END"}),
    *_case("stop.many", messages={"stop_sequences": ["a", "b", "c", "d", "e"]}, chat={"stop": ["a", "b", "c", "d", "e"]}),
    *_case("stop.blank", chat={"stop": ["\n\n"]}),
    *_case("logprobs", chat={"logprobs": True, "top_logprobs": 2}, responses={"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
    *_case("logprobs.included", responses={"include": ["message.output_text.logprobs"]}),
    *_case("logprobs.none", chat={"logprobs": False}, responses={"top_logprobs": 0}),
    *_case("n.one", chat={"n": 1}),
    *_case("n.two", chat={"n": 2}),
    *_case("logit_bias", chat={"logit_bias": {"50256": -100}}),
    *_case("penalties", chat={"frequency_penalty": 0.5, "presence_penalty": 0.5}),
    *_case("prediction", chat={"prediction": {"type": "content", "content": "x"}}),
    *_case("temperature", messages={"temperature": 0.5}, chat={"temperature": 0.5}, responses={"temperature": 0.5}),
    *_case("temperature.hot", chat={"temperature": 1.5}, responses={"temperature": 1.5}),
    *_case("top_p", messages={"top_p": 0.5}, chat={"top_p": 0.5}, responses={"top_p": 0.5}),
    *_case("top_k", messages={"top_k": 5}, chat={"top_k": 5}),
    *_case("limit", messages={"max_tokens": 77}, chat={"max_completion_tokens": 77}, responses={"max_output_tokens": 77}),
    *_case("limit.old", chat={"max_tokens": 77}),
    *_case("parallel.off", messages={"tools": [{"name": "t", "input_schema": PARAMETERS}], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, chat={"tools": [{"type": "function", "function": {"name": "t", "parameters": PARAMETERS}}], "parallel_tool_calls": False}, responses={"tools": [{"type": "function", "name": "t", "parameters": PARAMETERS}], "parallel_tool_calls": False}),
    *_case("max_tool_calls", responses={"max_tool_calls": 3}),
    *_case("user", messages={"metadata": {"user_id": "u"}}, chat={"user": "u"}, responses={"user": "u"}),
    *_case("user.safety", chat={"safety_identifier": "u"}, responses={"safety_identifier": "u"}),
    *_case("metadata", messages={"metadata": {"user_id": "u", "more": "m"}}, chat={"metadata": {"k": "v"}}, responses={"metadata": {"k": "v"}}),
    *_case("store", chat={"store": True}, responses={"store": True}),
    *_case("background", responses={"background": True}),
    *_case("previous_response", responses={"previous_response_id": "resp_1"}),
    *_case("conversation", responses={"conversation": "conv_1"}),
    *_case("prompt_template", responses={"prompt": {"id": "pmpt_1"}}),
    *_case("truncation.auto", responses={"truncation": "auto"}),
    *_case("truncation.disabled", responses={"truncation": "disabled"}),
    *_case("include.reasoning", responses={"include": ["reasoning.encrypted_content"]}),
    *_case("include.search", responses={"include": ["web_search_call.action.sources"]}),
    *_case("context.clear_tools", messages={"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
    *_case("context.compact", messages={"context_management": {"edits": [{"type": "compact_20260112"}]}}, responses={"context_management": [{"type": "compaction", "compact_threshold": 1000}]}),
    *_case("compaction.item", messages={"messages": [*user(said("Q")), {"role": "assistant", "content": [{"type": "compaction", "content": "Short."}, said("A")]}, *user(said("On."))]}, responses={"input": [{"type": "compaction", "encrypted_content": "gAAA"}, *user({"type": "input_text", "text": "On."})]}),
    *_case("compaction.trigger", responses={"input": [*user({"type": "input_text", "text": "Q"}), {"type": "compaction_trigger"}]}),
    *_case("container", messages={"container": "c_1"}),
    *_case("mcp_servers", messages={"mcp_servers": [{"type": "url", "url": "https://a.test/", "name": "a"}]}),
    *_case("web_search_options", chat={"web_search_options": {}}),
    *_case("modalities.audio", chat={"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    *_case("modalities.text", chat={"modalities": ["text"]}),
    *_case("refusal.history", chat={"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": None, "refusal": "No."}, {"role": "user", "content": "On."}]}, responses={"input": spoken({"type": "refusal", "refusal": "No."})}),
    *_case("citations.asked", messages={"messages": user({**PDF, "citations": {"enabled": True}}, said("Q"))}),
    *_case("citations.history", messages={"messages": spoken(said("A", citations=[LOCATION]))}),
    *_case("annotations.history", chat={"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "annotations": [{"type": "url_citation", "url_citation": {k: v for k, v in URL_NOTE.items() if k != "type"}}]}, {"role": "user", "content": "On."}]}, responses={"input": spoken({"type": "output_text", "text": "A", "annotations": [URL_NOTE]})}),
    *_case("image.detail", chat={"messages": user({"type": "image_url", "image_url": {"url": "https://a.test/i.png", "detail": "high"}})}, responses={"input": user({"type": "input_image", "image_url": "https://a.test/i.png", "detail": "high"})}),
    *_case("name.of.speaker", chat={"messages": [{"role": "user", "name": "bob", "content": "Q"}]}),
    *_case("phase", responses={"input": [{"role": "user", "content": "Q"}, {"type": "message", "role": "assistant", "phase": "commentary", "content": [{"type": "output_text", "text": "A"}]}, {"role": "user", "content": "On."}]}),
    *_case("stream_options", chat={"stream": True, "stream_options": {"include_usage": True}}, responses={"stream": True, "stream_options": {"include_obfuscation": False}}),
    *_case("unknown", messages={"x_new": 1}, chat={"x_new": 1}, responses={"x_new": 1}),
)  # fmt: skip


def plain(client: str) -> JsonObject:
    """The request over which a field's members are laid."""
    match client:
        case "anthropic-messages":
            return {"model": "m", "max_tokens": 9000, "messages": user(said("Q"))}
        case "openai-chat":
            return {"model": "m", "messages": user(said("Q"))}
    return {"model": "m", "input": user({"type": "input_text", "text": "Q"})}


ABLE = Model("p", "m", tools=True, vision=True, documents=True, reasoning=True, structured=True, context=10**6, max_output=64_000)  # fmt: skip


def target(wire: str) -> Target:
    """A provider that can do whatever its protocol has."""
    return Target(Provider("p", {wire: "http://x"}), ABLE, wire, ABLE.quirks)


def sent(client: str, wire: str, body: JsonObject) -> tuple[JsonObject, set[str], set[str]]:
    """(request for the provider, losses that its encoder names, losses announced before)."""
    if client == wire:
        return PROTOCOLS[wire].rewrite(body, target(wire)), set(), set()
    announced = set(lost(PROTOCOLS[client].survey(body).requires, wire))
    encoded, losses = PROTOCOLS[wire].encode_request(PROTOCOLS[client].decode_request(body), target(wire))
    return encoded, set(losses), announced


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """What is new or other in `after`, as `path=value`; what is gone as `-path`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(k for k in after if k not in before)]:
            here = f"{path}.{key}" if path else key
            if key not in after:
                yield f"-{here}"
            elif key not in before:
                yield f"{here}={orjson.dumps(after[key]).decode()}"
            else:
                yield from differences(before[key], after[key], here)
    elif before != after:
        yield f"{path}={orjson.dumps(after).decode()}"


def row(case: Case, wire: str) -> tuple[str, set[str], set[str]]:
    """(what the field becomes, losses named, losses announced) at a provider of `wire`."""
    base = plain(case.client)
    encoded, losses, announced = sent(case.client, wire, {**base, **case.members})
    unset, _, _ = sent(case.client, wire, base)
    return "; ".join(differences(unset, encoded)), losses, announced
