"""The facts of a request: the one document that a policy's expressions read and that is recorded.

Rules kept here:

- Complete: every field of `schemas/facts.schema.json` for the request's phase is present, with no nulls, so that an expression
  needs no guards. What belongs to a candidate (`model`, `provider`, `candidate`, losses) is added for each by `decide`.
- No text: the newest user text is searched for the policy's signals here, and only their booleans leave.
- Plain: strings, 64-bit integers, floats, booleans, lists and dicts, as CEL and JSON have them.
- Pure: the clock, the money spent and the session's history are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol

import orjson

from engine.llm.frozen import dataclass
from engine.llm.protocol import Survey
from engine.policy.clients import AGENTS, ClientIdentity
from engine.policy.decision import Facts
from engine.policy.shipped import find_shipped

BUCKETS = 10_000
"""How finely a canary can be drawn: hundredths of a percent."""

_INT64 = (1 << 63) - 1
_BYTES_PER_TOKEN = 4
_IMAGE_TOKENS = 1_500
_DOCUMENT_TOKENS = 3_000
_EXPECTED_OUTPUT = 8_192
"""Tokens an answer is taken to need when the client's limit is higher: agents ask for 128,000 and use a few hundred."""

_SEARCHED = 8_192
"""Bytes of the newest user text that signals see; from a longer text its beginning and its end, where the task stands."""


class History(Protocol):
    """What the gateway remembers of a session."""

    @property
    def requests(self) -> int:
        """Earlier requests."""

    @property
    def tool_errors(self) -> int:
        """Turns in a row whose newest tool results held an error."""

    @property
    def invalid_calls(self) -> int:
        """Tool calls that fitted nothing offered."""

    @property
    def model(self) -> str:
        """`provider/model` of the last answer, empty at first."""

    @property
    def cost_usd(self) -> float:
        """Cost so far, as far as prices are known."""

    @property
    def output_tokens(self) -> int:
        """Tokens of a mean answer, 0 while none was counted."""


class Switches(Protocol):
    """The policy's settings that rules may read."""

    @property
    def experimental(self) -> bool:
        """Models marked experimental may serve agents."""


class FactPolicy(Protocol):
    """What facts need of a policy."""

    @property
    def signals(self) -> Mapping[str, Any]:
        """Name → compiled RE2 expression."""

    @property
    def settings(self) -> Switches:
        """Its switches."""

    def knows(self, model: str) -> bool:
        """Whether a row or a provider's name prefix serves a model of that name."""


@dataclass(slots=True, frozen=True)
class FactContext:
    """What surrounds a request. `draw` is what a canary is drawn by: the session, or the request's own id without one."""

    protocol: str
    identity: ClientIdentity
    session: str
    history: History | None
    draw: str
    body_bytes: int
    now: datetime
    """Local time, with its zone."""
    day_usd: float = 0.0
    month_usd: float = 0.0
    repeats: int = 0
    """Times that the newest prompt was answered before."""
    pinned_model: str = ""
    pinned_class: str = ""
    secrets: int = 0
    """Secrets found, if they were looked for."""
    prefix: Mapping[str, Any] = field(default_factory=dict)
    """What is known of the prompt's beginning, by the names of `session` in the facts; absent ones have their defaults."""
    reasoning_by: Sequence[str] = ()
    compacted_by: Sequence[str] = ()


def build(survey: Survey, context: FactContext, policy: FactPolicy) -> Facts:
    """The facts of one request, ready for `decide`. Costs a few microseconds, plus the search for the policy's signals."""
    identity, history, now = context.identity, context.history, context.now
    return {
        "request": _request(survey, context, policy),
        "session": {
            "id": context.session,
            "bucket": bucket(context.draw),
            "requests": history.requests if history else 0,
            "tool_errors": history.tool_errors if history else 0,
            "invalid_calls": history.invalid_calls if history else 0,
            "repeats": context.repeats,
            "model": history.model if history else "",
            "cost_usd": history.cost_usd if history else 0.0,
            "output_tokens": history.output_tokens if history else 0,
            "warm": {},
            "warm_model": "",
            "warm_tokens": 0,
            "prefix_break": "",
            "prefix_break_tokens": 0,
            "prefix_break_usd": 0.0,
            **context.prefix,
        },
        "client": {
            "name": identity.name,
            "version": identity.version,
            "agent": identity.agent,
            "project": identity.project,
            "key": identity.key,
        },
        "estimate": {
            "input_tokens": input_tokens(survey, context.body_bytes),
            "output_tokens": min(survey.max_output_tokens, _EXPECTED_OUTPUT)
            if survey.max_output_tokens > 0
            else _EXPECTED_OUTPUT,
            "cached_tokens": 0,
            "cost_usd": -1.0,
            "cold_cost_usd": -1.0,
            "turn_cost_usd": -1.0,
            "switch_cost_usd": -1.0,
        },
        "budget": {"day_usd": context.day_usd, "month_usd": context.month_usd},
        "now": clock_facts(now),
        "settings": {"experimental": policy.settings.experimental},
        "vars": {},
        "signals": search(policy.signals, survey.newest_user_text),
    }


def clock_facts(moment: datetime) -> Facts:
    """`now` of the facts at a moment, by the clocks of its zone."""
    return {
        "unix": int(moment.timestamp()),
        "hour": moment.hour,
        "weekday": moment.isoweekday(),
        "date": moment.date().isoformat(),
    }


def _request(survey: Survey, context: FactContext, policy: FactPolicy) -> Facts:
    return {
        "protocol": context.protocol,
        "model": survey.model,
        "model_known": policy.knows(survey.model),
        "stream": survey.stream,
        "messages": survey.messages,
        "turns": survey.turns,
        "tools": survey.tools,
        "server_tools": survey.server_tools,
        "tool_names": list(survey.tool_names[:64]),
        "tool_choice": survey.tool_choice,
        "tool_calls": survey.tool_calls,
        "tool_results": survey.tool_results,
        "tool_errors": survey.tool_errors,
        "images": survey.images,
        "documents": survey.documents,
        "system_bytes": survey.system_bytes,
        "body_bytes": context.body_bytes,
        "max_output_tokens": min(survey.max_output_tokens, _INT64),
        "temperature": float(survey.temperature),
        "thinking": survey.thinking,
        "thinking_budget": min(survey.thinking_budget, _INT64),
        "effort": survey.effort,
        "output_format": survey.output_format,
        "cache_marks": survey.cache_marks,
        "last_role": survey.last_role,
        "requires": sorted(survey.requires)[:64],
        "reasoning_by": list(context.reasoning_by),
        "compacted_by": list(context.compacted_by),
        "compaction": survey.compaction or context.identity.purpose == "compaction",
        "previous_response": survey.previous_response,
        "stored": survey.stored,
        "purpose": purpose(survey, context.identity),
        "pinned_model": context.pinned_model,
        "pinned_class": context.pinned_class,
        "secrets": context.secrets,
    }


def purpose(survey: Survey, identity: ClientIdentity) -> str:
    """What the call is for: what the client says in its headers, else what only one kind of its calls looks like.

    An agent's main work always offers tools; a first message without tools that wants JSON by a schema is the title call
    (Claude Code and Codex, observed). A compaction call is known by its body.
    """
    if survey.compaction:
        return "compaction"
    said = identity.purpose
    if (
        said in ("", "auxiliary")
        and survey.output_format == "json_schema"
        and not (survey.tools or survey.server_tools or survey.turns)
        and identity.name in AGENTS
    ):
        return "title"
    return said


def input_tokens(survey: Survey, body_bytes: int) -> int:
    """Tokens of the prompt, estimated: a quarter of its bytes without media, and a flat figure per image and document."""
    text = max(body_bytes - survey.media_bytes, 0) // _BYTES_PER_TOKEN
    return text + survey.images * _IMAGE_TOKENS + survey.documents * _DOCUMENT_TOKENS


@lru_cache(maxsize=256)
def bucket(draw: str) -> int:
    """0 to 9,999, evenly and always the same for the same text."""
    return int.from_bytes(sha256(draw.encode("utf-8", "replace")).digest()[:8], "big") % BUCKETS


def search(signals: Mapping[str, Any], text: str) -> dict[str, bool]:
    """Which of the signals are found in `text`. Linear in its length, which is capped."""
    if not signals:
        return {}
    if len(text) > _SEARCHED:  # before encoding, so that a megabyte is not encoded to search 8 KiB of it
        text = f"{text[: _SEARCHED // 2]}\n{text[-_SEARCHED // 2 :]}"
    # Bytes, because RE2 searches them directly, while a string is encoded anew for every expression.
    data = text.encode("utf-8", "replace")
    if len(data) > _SEARCHED:
        data = data[: _SEARCHED // 2] + b"\n" + data[-_SEARCHED // 2 :]
    return {name: signal.search(data) is not None for name, signal in signals.items()}


@lru_cache(maxsize=1)
def schema() -> Mapping[str, Any]:
    """The shipped schema of the facts."""
    parsed: Mapping[str, Any] = orjson.loads(find_shipped("schemas", "facts.schema.json").read_bytes())
    return parsed


def defaults(schema: Mapping[str, Any]) -> Facts:
    """A complete facts document of nothing but defaults, candidate's phase included. Each call gives a new one."""
    return complete({}, schema)


def complete(partial: Mapping[str, Any], schema: Mapping[str, Any]) -> Facts:
    """`partial` with every missing field filled in and numbers brought to the field's type.

    For facts written by hand (policy tests) and facts recorded by an older version. Unknown fields stay, for `validate` to
    name; a value of the wrong type stays too.
    """
    filled: Facts = {}
    properties = schema.get("properties", {})
    for name, described in properties.items():
        filled[name] = _completed(partial.get(name), described)
    for name, value in partial.items():
        if name not in properties:
            filled[name] = value
    return filled


def _completed(value: Any, field: Mapping[str, Any]) -> Any:
    kind = field.get("type")
    if kind == "object" and (value is None or isinstance(value, Mapping)):
        return complete(value or {}, field)
    if value is None:
        value = field.get("default")
        return list(value) if isinstance(value, list) else value
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool):
        return max(-_INT64 - 1, min(value, _INT64))
    return value


def validate(facts: Mapping[str, Any]) -> list[str]:
    """What is wrong with a facts document, as `request.tools: …` lines, sorted; empty when it is sound."""
    errors = _validator().iter_errors(facts)
    return sorted(f"{'.'.join(map(str, e.absolute_path)) or 'facts'}: {e.message}" for e in errors)


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft7Validator  # noqa: PLC0415 - a tenth of a second that a running gateway never needs

    return Draft7Validator(schema())
