"""A neutral request as the JSON of one Chat Completions provider, and the codes of what it could not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import re2

from engine.llm.messages import JsonObject, LLMRequest, OutputFormat, Reasoning
from engine.llm.protocol import Target
from engine.protocols.bounds import LONGEST_USER, MOST_STOPS, PLAIN_TIERS, openai_tier, short
from engine.protocols.compaction import in_words
from engine.protocols.efforts import EFFORTS, effort_of_budget, nearest_effort
from engine.protocols.openai_chat.fields import DOCUMENTED, MEANT, NAME, field_losses
from engine.protocols.openai_chat.messages_out import Conversation
from engine.protocols.openai_chat.tools_out import tool_fields
from engine.protocols.tool_names import ToolNames
from engine.protocols.unshared import beside_losses, strange_losses

_NOT_NAME = re2.compile(r"[^A-Za-z0-9_-]")

_DROPPED: Mapping[str, str] = {
    **{name: code for name, code in MEANT.items() if code},
    "response_format": "output_format",
    "service_tier": "service_tier",
}


def encode_request(request: LLMRequest, target: Target) -> tuple[JsonObject, list[str]]:
    """(body, sorted loss codes)."""
    losses: set[str] = set()
    request = in_words(request, target, losses)
    names = ToolNames(request.tools)
    body: JsonObject = {"model": target.model.name}
    body["messages"] = Conversation(request, target, names, losses).encode()
    tools = tool_fields(request, target.quirks, names, losses)
    body |= tools
    _limits(request, target, body, losses)
    if request.logprobs is not None:
        body |= {"logprobs": True, **({"top_logprobs": request.logprobs} if request.logprobs else {})}
    _reasoning(request, target, body, losses, tools=bool(tools))
    if request.output_format is not None:
        _output_format(request.output_format, target, body, losses)
    if request.verbosity and (request.protocol == NAME or not target.quirks.strict):
        body["verbosity"] = request.verbosity
    elif request.verbosity:
        losses.add("verbosity")
    _identity(request, body, losses)
    if request.stream:
        body["stream"] = True
        if target.quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    _extras(request, target, body, losses)
    _drop(target.quirks.drop, body, losses)
    return body, sorted(losses)


def _limits(request: LLMRequest, target: Target, body: JsonObject, losses: set[str]) -> None:
    """Output limit, sampling, stop, seed."""
    quirks = target.quirks
    limit = request.max_output_tokens or quirks.default_max_tokens
    if limit > (most := target.model.max_output) > 0:
        if request.max_output_tokens:
            losses.add("max_output_tokens")
        limit = most
    if limit:
        body[quirks.max_tokens_field or "max_tokens"] = limit
    sampling = {"temperature": request.temperature, "top_p": request.top_p}
    for field, value in sampling.items():
        if value is None:
            continue
        if quirks.sampling:
            body[field] = value
        else:
            losses.add("sampling")
    if request.top_k is not None:
        if request.protocol == NAME and quirks.sampling and not quirks.strict:
            body["top_k"] = request.top_k
        else:
            losses.add("top_k")
    if request.stop:
        body["stop"] = list(request.stop[:MOST_STOPS])
        if len(request.stop) > MOST_STOPS:
            losses.add("stop.form")
    if request.seed is not None:
        if quirks.seed_field:
            body[quirks.seed_field] = request.seed
        else:
            losses.add("seed")


def _reasoning(request: LLMRequest, target: Target, body: JsonObject, losses: set[str], *, tools: bool) -> None:
    asked = request.reasoning
    quirks = target.quirks
    if asked is None:
        return
    word = asked_effort(asked, quirks.efforts)
    off = asked.enabled is False
    wanted = not off and word != "none" and bool(word or asked.enabled)
    lost = "effort" if asked.effort else "thinking.budget" if asked.budget_tokens else ""
    if asked.budget_tokens and not off:
        losses.add("thinking.budget")
    if not target.model.reasoning or quirks.reasoning_param == "none":
        if wanted and lost:
            losses.add(lost)
        return
    fitted = nearest_effort(word, quirks.efforts)
    if request.protocol != NAME and fitted not in (quirks.efforts or EFFORTS):
        fitted = ""  # a vendor's own word
    if lost and fitted != word and not off:
        losses.add("effort.word")
    if tools and not quirks.tools_with_reasoning:
        fitted = "none" if "none" in quirks.efforts else ""
        wanted = False
        losses |= {lost} if lost else set()
    if off and asked.effort not in {"", "none"}:
        losses.add("effort.word")  # how thorough to be without thinking
    if off and fitted != "none" and quirks.reasoning_param == "reasoning_effort":
        losses.add("thinking.off")
    match quirks.reasoning_param:
        case "reasoning_effort" if fitted:
            body["reasoning_effort"] = fitted
        case "thinking" if wanted or off:
            body["thinking"] = {"type": "enabled" if wanted else "disabled"}
            if wanted and fitted and quirks.efforts:
                body["reasoning_effort"] = fitted
        case "reasoning":
            held: JsonObject = {"effort": fitted} if fitted else {}
            if not held and asked.enabled is not None:
                held["enabled"] = asked.enabled
            if request.protocol == NAME and not quirks.strict:
                held |= asked.extra
            if held:
                body["reasoning"] = held


def asked_effort(asked: Reasoning, accepted: tuple[str, ...]) -> str:
    """The effort word that a request asks for, a token budget turned into one, empty for the provider's default.

    Thinking switched off is `none`, unless the provider's words are unknown and the client did not use that word itself.
    """
    if asked.enabled is False:
        return "none" if accepted or asked.effort == "none" else ""
    if asked.effort or not asked.budget_tokens:
        return asked.effort
    return effort_of_budget(asked.budget_tokens)


def _output_format(wanted: OutputFormat, target: Target, body: JsonObject, losses: set[str]) -> None:
    if wanted.kind == "json_schema" and target.model.structured and target.quirks.json_schema:
        held: JsonObject = {"name": _NOT_NAME.sub("_", wanted.name)[:64] or "answer", "schema": wanted.schema or {}}
        if wanted.strict is not None:
            held["strict"] = wanted.strict
        body["response_format"] = {"type": "json_schema", "json_schema": held | dict(wanted.extra)}
        return
    if target.model.structured:
        body["response_format"] = {"type": "json_object"}
        if wanted.kind == "json_object":
            return
    losses.add("output_format" if wanted.kind == "json_schema" else "output_format.json")
    text = "Answer with one JSON object and nothing else."
    if wanted.schema:
        text += f" It must match this JSON Schema:\n{orjson.dumps(wanted.schema).decode()}"
    _instruct(body["messages"], text, target.quirks.system_role)


def _instruct(messages: list[JsonObject], text: str, role: str) -> None:
    """Adds `text` to the system message at the start, or puts one there."""
    first = messages[0] if messages else {}
    if first.get("role") == role and isinstance(first["content"], str):
        first["content"] += f"\n\n{text}"
    else:
        messages.insert(0, {"role": role, "content": text})


def _identity(request: LLMRequest, body: JsonObject, losses: set[str]) -> None:
    """The end user, the cache key, the service tier."""
    if request.user:
        body["user"] = short(request.user)
        if len(request.user) > LONGEST_USER:
            losses.add("user.long")
    if request.cache_key:
        body["prompt_cache_key"] = short(request.cache_key)
    if tier := openai_tier(request.service_tier, own=request.protocol.startswith("openai-"), losses=losses):
        body["service_tier"] = tier


def _extras(request: LLMRequest, target: Target, body: JsonObject, losses: set[str]) -> None:
    own = request.protocol == NAME
    for name, value in request.extra.items():
        if name in body or name == "stream_options":
            continue
        if own and (not target.quirks.strict or name in DOCUMENTED):
            body[name] = value
        elif own:
            losses.update(field_losses(name, value))
    losses |= strange_losses(request) if own else beside_losses(request)


def _drop(fields: tuple[str, ...], body: JsonObject, losses: set[str]) -> None:
    for name in fields:
        value: Any = body.pop(name, None)
        if value is None:
            continue
        if name == "tool_choice":
            if value != "auto":
                losses.add("forced_tool")
        elif name == "service_tier" and value in PLAIN_TIERS:
            continue
        elif code := _DROPPED.get(name):
            losses.add(code)
