"""A neutral request as the JSON of one provider's Responses API, and the codes of what it could not say."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import re2

from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, LLMRequest, OutputFormat
from engine.llm.protocol import Target
from engine.protocols.bounds import LONGEST_USER, PLAIN_TIERS, openai_tier, short
from engine.protocols.compaction import in_words, items_in_words
from engine.protocols.efforts import EFFORTS, effort_of_budget, nearest_effort
from engine.protocols.openai_responses.items_out import Items, taken_back
from engine.protocols.openai_responses.tools import write_choice, write_tools
from engine.protocols.openai_responses.words import FIELD_CODES, LOGPROBS, NAME, UNDOCUMENTED, text
from engine.protocols.tool_names import ToolNames
from engine.protocols.unshared import beside_losses, strange_losses

_LEAST_OUTPUT = 16
"""The API refuses a smaller output limit."""
_LONGEST_NAME = 64
_NOT_NAME = re2.compile(r"[^A-Za-z0-9_-]")
_ENCRYPTED = "reasoning.encrypted_content"

_DROPPED: Mapping[str, str] = {
    **{name: code for name, code in FIELD_CODES.items() if code},
    "reasoning": "effort",
    "text": "output_format",
    "service_tier": "service_tier",
}


def encode_request(request: LLMRequest, target: Target) -> tuple[JsonObject, list[str]]:
    """(body, sorted loss codes)."""
    losses: set[str] = set()
    request = in_words(request, target, losses)
    quirks = target.quirks
    names = ToolNames(request.tools)
    body: JsonObject = {"model": target.model.name, "input": Items(request, target, names, losses).encode()}
    if tools := write_tools(request, quirks, names, losses):
        body["tools"] = tools
        _choice(request, quirks, names, body, losses)
        if request.parallel_tool_calls is not None:
            if quirks.parallel_tools:
                body["parallel_tool_calls"] = request.parallel_tool_calls
            else:
                losses.add("parallel_tools")
    _limits(request, target, body, losses)
    _reasoning(request, target, body, losses)
    if request.output_format is not None:
        _format(request.output_format, target, body, losses)
    if request.verbosity:
        body["text"] = {**body.get("text", {}), "verbosity": request.verbosity}
    _identity(request, body, losses)
    _logprobs(request, body)
    _extras(request, target, body, losses)
    if request.stream:
        body["stream"] = True
    for name in quirks.drop:
        if body.pop(name, None) not in (None, *PLAIN_TIERS) and (code := _DROPPED.get(name)):
            losses.add(code)
    return body, sorted(losses)


def _choice(request: LLMRequest, quirks: Quirks, names: ToolNames, body: JsonObject, losses: set[str]) -> None:
    if request.tool_choice is None:
        return
    said = write_choice(request.tool_choice, quirks, names, body["tools"])
    if said is None:
        losses.add("forced_tool")
    body["tool_choice"] = said or "auto"


def rewrite(body: JsonObject, target: Target) -> JsonObject:
    """See `WireProtocol.rewrite`. Reasoning of another provider is taken out, bare or in an envelope of ours.
    So is its compaction item, where a policy allows that loss; a summary of ours is said as text.
    """
    quirks = target.quirks
    out = {**body, "model": target.model.name}
    given = body.get("input")
    if isinstance(given, list):
        kept = items_in_words(taken_back(given, target.take_back), target.unpacked)
        if kept is not given:
            out["input"] = kept
    asked = body.get("reasoning")
    if isinstance(asked, dict) and (effort := text(asked.get("effort"))):
        out["reasoning"] = {**asked, "effort": nearest_effort(effort, quirks.efforts)}
    for name in _refused(quirks):
        out.pop(name, None)
    return out


def _refused(quirks: Quirks) -> tuple[str, ...]:
    sampling = () if quirks.sampling else ("temperature", "top_p")
    parallel = () if quirks.parallel_tools else ("parallel_tool_calls",)
    return (*quirks.drop, *sampling, *parallel)


def _limits(request: LLMRequest, target: Target, body: JsonObject, losses: set[str]) -> None:
    """Output limit, sampling, and what this API has no field for."""
    limit = request.max_output_tokens or target.quirks.default_max_tokens
    if limit > (most := target.model.max_output) > 0:
        if request.max_output_tokens:
            losses.add("max_output_tokens")
        limit = most
    if limit:
        body["max_output_tokens"] = max(limit, _LEAST_OUTPUT)
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        if value is not None and target.quirks.sampling:
            body[name] = value
        elif value is not None:
            losses.add("sampling")
    unsaid = {"top_k": request.top_k is not None, "stop": bool(request.stop), "seed": request.seed is not None}
    losses |= {code for code, given in unsaid.items() if given}


def _reasoning(request: LLMRequest, target: Target, body: JsonObject, losses: set[str]) -> None:
    """Effort and summary, and how sealed reasoning comes back: without the provider keeping the answer."""
    own = request.protocol == NAME
    if not own:
        body["store"] = False
        if target.model.reasoning:
            body["include"] = [_ENCRYPTED]
    asked = request.reasoning
    if asked is None:
        return
    word = asked.effort
    if asked.enabled is False:
        if word not in {"", "none"}:
            losses.add("effort.word")  # how thorough to be without thinking
        word = "none"
    elif asked.budget_tokens:
        losses.add("thinking.budget")
        word = word or effort_of_budget(asked.budget_tokens)
    if not target.model.reasoning:
        if word and word != "none":
            losses.add("effort")
        return
    said: JsonObject = {}
    if word == "none" and not own and not target.quirks.efforts:
        word = ""  # not every model can do without thinking; an unknown one is left to its default
        losses.add("thinking.off")
    if word and (fitted := _fitted(word, target.quirks.efforts, own=own)) != word:
        losses.add("thinking.off" if word == "none" else "effort.word")
        word = fitted
    if word:
        said["effort"] = word
    if own and asked.summary:
        said["summary"] = asked.summary
    elif not own and (asked.enabled or asked.adaptive) and asked.summary != "omitted":
        said["summary"] = "auto"
    if own and not target.quirks.strict:
        said |= asked.extra
    if said:
        body["reasoning"] = said


def _fitted(word: str, accepted: tuple[str, ...], *, own: bool) -> str:
    """The effort to ask for; empty for a vendor's own word that the target does not list."""
    fitted = nearest_effort(word, accepted)
    return fitted if fitted in (accepted or EFFORTS) or (own and not accepted) else ""


def _format(wanted: OutputFormat, target: Target, body: JsonObject, losses: set[str]) -> None:
    if target.model.structured and wanted.kind == "json_schema" and target.quirks.json_schema:
        held: JsonObject = {"type": "json_schema", "name": _NOT_NAME.sub("_", wanted.name)[:_LONGEST_NAME] or "answer"}
        held["schema"] = wanted.schema or {}
        if wanted.strict is not None:
            held["strict"] = wanted.strict
        body["text"] = {"format": held | dict(wanted.extra)}
        return
    if target.model.structured:
        body["text"] = {"format": {"type": "json_object"}}
        if wanted.kind == "json_object":
            return
    losses.add("output_format" if wanted.kind == "json_schema" else "output_format.json")
    said = "Answer with one JSON object and nothing else."
    if wanted.schema:
        said += f" It must match this JSON Schema:\n{orjson.dumps(wanted.schema).decode()}"
    part = {"type": "input_text", "text": said}
    body["input"].insert(0, {"type": "message", "role": target.quirks.system_role, "content": [part]})


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


def _logprobs(request: LLMRequest, body: JsonObject) -> None:
    """The wish for token probabilities; a client of this protocol said it in its own `include`, which rides along."""
    if request.logprobs is None:
        return
    if request.protocol != NAME:
        body["include"] = [*body.get("include", ()), LOGPROBS]
    if request.logprobs:
        body["top_logprobs"] = request.logprobs


def _extras(request: LLMRequest, target: Target, body: JsonObject, losses: set[str]) -> None:
    if request.protocol != NAME:
        losses |= beside_losses(request)
        return
    losses |= strange_losses(request)
    for name, value in request.extra.items():
        known = name in FIELD_CODES and name not in UNDOCUMENTED
        if target.quirks.strict and not known:
            losses.add(FIELD_CODES.get(name, "unknown_field") or "unknown_field")
        elif name == "text":
            body["text"] = {**value, **body.get("text", {})}
        elif name not in body:
            body[name] = value
