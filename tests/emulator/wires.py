"""The three wires behind one face: check a request, answer it whole or in frames, say no in the vendor's envelope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from tests.emulator import (
    anthropic_answers,
    anthropic_rules,
    chat_answers,
    chat_rules,
    responses_answers,
    responses_rules,
)
from tests.emulator import models as rows
from tests.emulator.chat_profiles import PROFILES
from tests.emulator.conversation import Conversation
from tests.emulator.ids import anthropic_headers, anthropic_id, item_id, openai_headers, random_id
from tests.emulator.models import Model
from tests.emulator.openai_words import check_headers as check_bearer
from tests.emulator.refusal import Refusal, anthropic_error, openai_error
from tests.emulator.script import Script
from tests.emulator.seals import Seals
from tests.emulator.tokens import PromptCache, count


@dataclass(slots=True)
class Reply:
    """A request understood and its answer, made but not yet sent."""

    talk: Conversation
    complaints: list[str]
    whole: dict[str, Any]
    frames: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """What one emulated vendor remembers: its secret, its prompt cache, its stored answers, its script and key."""

    script: Script
    key: str
    profile: str = "openai"
    extra_models: Mapping[str, Model] = field(default_factory=dict)
    seals: Seals = field(default_factory=Seals)
    cache: PromptCache = field(default_factory=PromptCache)
    stored: responses_rules.Stored = field(default_factory=responses_rules.Stored)


@dataclass(slots=True, frozen=True)
class Wire:
    """One protocol as one vendor speaks it."""

    name: str
    family: str
    """Row of the fault table: `anthropic` or `openai`."""
    authenticate: Callable[[Mapping[str, str], str], None]
    reply: Callable[[Any, Mapping[str, str], State], Reply]
    envelope: Callable[[Refusal, State, str], dict[str, Any]]
    error_frames: Callable[[Refusal, State], list[bytes]]
    headers: Callable[[str], dict[str, str]]
    request_id: Callable[[], str]


def _messages(body: Any, headers: Mapping[str, str], state: State) -> Reply:
    models = {**rows.CLAUDE, **state.extra_models}
    context = anthropic_rules.Context(models, state.seals, anthropic_rules.betas(headers.get("anthropic-beta", "")))
    model = anthropic_rules.check(body, context)
    talk = anthropic_answers.read(body, model)
    answer = state.script.answer(talk)
    made = anthropic_answers.content(body, talk, answer, state.seals)
    whole = anthropic_answers.whole(
        talk, answer, made, anthropic_answers.usage(body, answer, state.cache, smallest=model.cache_smallest)
    )
    frames = list(anthropic_answers.stream(whole)) if talk.stream else []
    return Reply(talk, list(state.script.complaints(talk)), whole, frames)


def _responses(body: Any, headers: Mapping[str, str], state: State) -> Reply:
    context = responses_rules.Context({**rows.GPT, **state.extra_models}, state.seals, state.stored)
    model = responses_rules.check(body, context)
    history = responses_rules.full_input(body, state.stored)
    talk = responses_answers.read(body, history, model)
    answer = state.script.answer(talk)
    made = responses_answers.output(body, talk, answer, state.seals)
    whole = responses_answers.whole(body, answer, made, responses_answers.usage(body, history, answer, state.cache))
    if body.get("store", True):
        state.stored.responses[whole["id"]] = [*history, *made]
        state.stored.items |= {item["id"] for item in made}
    frames = list(responses_answers.stream(whole)) if talk.stream else []
    return Reply(talk, list(state.script.complaints(talk)), whole, frames)


def _chat(body: Any, headers: Mapping[str, str], state: State) -> Reply:
    profile = PROFILES[state.profile]
    model = chat_rules.check(body, chat_rules.Context(profile, {**profile.models, **state.extra_models}, state.seals))
    talk = chat_answers.read(body, model)
    answer = state.script.answer(talk)
    if profile.wants_reasoning and talk.thinks and not answer.thinking:
        answer = replace(answer, thinking="On with it.")  # such a vendor's models always think
    whole = chat_answers.whole(
        body,
        answer,
        chat_answers.message(answer, profile, state.seals),
        chat_answers.usage(body, answer, state.cache, profile.keeping),
    )
    frames = list(chat_answers.stream(body, whole, profile)) if talk.stream else []
    return Reply(talk, list(state.script.complaints(talk)), whole, frames)


def _anthropic_frames(refusal: Refusal, state: State) -> list[bytes]:
    body = anthropic_error(refusal, anthropic_id("req_"))
    body["error"]["details"] = None
    return [b"event: error\ndata: " + orjson.dumps(body) + b"\n\n"]


def _responses_frames(refusal: Refusal, state: State) -> list[bytes]:
    error = openai_error(refusal)["error"]
    events = responses_answers.Events()
    failed = {
        "id": item_id("resp"),
        "object": "response",
        "status": "failed",
        "output": [],
        "usage": None,
        "incomplete_details": None,
        "error": {"code": error["code"] or "server_error", "message": error["message"]},
    }
    return [
        events.frame({"type": "error", "error": error}),
        events.frame({"type": "response.failed", "response": failed}),
    ]


def _chat_frames(refusal: Refusal, state: State) -> list[bytes]:
    return [b"data: " + orjson.dumps(PROFILES[state.profile].envelope(refusal, "")) + b"\n\n"]


WIRES: dict[str, Wire] = {
    "anthropic-messages": Wire(
        "anthropic-messages",
        "anthropic",
        anthropic_rules.check_headers,
        _messages,
        lambda refusal, state, request_id: anthropic_error(refusal, request_id),
        _anthropic_frames,
        anthropic_headers,
        lambda: anthropic_id("req_"),
    ),
    "openai-responses": Wire(
        "openai-responses",
        "openai",
        check_bearer,
        _responses,
        lambda refusal, state, request_id: openai_error(refusal, request_id),
        _responses_frames,
        openai_headers,
        lambda: random_id("req_", 32, "0123456789abcdef"),
    ),
    "openai-chat": Wire(
        "openai-chat",
        "openai",
        check_bearer,
        _chat,
        lambda refusal, state, request_id: PROFILES[state.profile].envelope(refusal, request_id),
        _chat_frames,
        openai_headers,
        lambda: random_id("req_", 32, "0123456789abcdef"),
    ),
}


def count_tokens(body: Any, headers: Mapping[str, str], state: State) -> dict[str, Any]:
    """`POST /v1/messages/count_tokens`."""
    models = {**rows.CLAUDE, **state.extra_models}
    context = anthropic_rules.Context(models, state.seals, anthropic_rules.betas(headers.get("anthropic-beta", "")))
    anthropic_rules.check(body, context, counting=True)
    return {"input_tokens": count({key: body[key] for key in ("system", "tools", "messages") if key in body})}
