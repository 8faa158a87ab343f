"""The emulator is no stricter than the vendors: it takes what real clients send and knows every field the SDKs know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anthropic.types as claude_types
import openai.types.chat as chat_types
import openai.types.responses as responses_types
import orjson
import pytest
from anthropic.types import message_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from tests.emulator import anthropic_fields, anthropic_rules, chat_profiles, chat_rules, responses_rules
from tests.emulator import models as rows
from tests.emulator.refusal import Refusal
from tests.emulator.seals import Seals

FILLER = (
    "Invalid `signature`",  # the stub that was recorded signed with any text
    "could not be verified",
    "invalid base64 data",  # free text of captures is filler
    "Expected a valid URL",
    "`my-beta-2026-01-01`",  # a test of the client's own settings
    "does not support assistant message prefill",  # what opencode sends after a broken stream
    "Unknown parameter: 'type'.",  # frames of the WebSocket variant
    "Expected a value >= 16",  # a warm-up for local servers
)
"""Refusals of recorded requests that are right."""


def check(path: str, headers: Mapping[str, str], body: dict[str, Any]) -> None:
    """One recorded request before the rules of the wire it was sent on, whatever its model is called."""
    name = body.get("model", "")
    if path.endswith(("/messages", "/count_tokens")):
        plain = "claude-haiku-4-5" if body.get("temperature") is not None else "claude-opus-5-5"
        context = anthropic_rules.Context(
            {name: rows.CLAUDE.get(name) or rows.CLAUDE[plain]},
            Seals(),
            anthropic_rules.betas(headers.get("anthropic-beta", "")),
        )
        anthropic_rules.check(body, context, counting=path.endswith("/count_tokens"))
    elif path.endswith("/responses"):
        responses_rules.check(
            body, responses_rules.Context({name: rows.GPT["gpt-5.6-sol"]}, Seals(), responses_rules.Stored())
        )
    elif path.endswith("/chat/completions"):
        for profile in ("openai", "strict"):
            chat_rules.check(body, chat_rules.Context(chat_profiles.PROFILES[profile], {name: rows.GPT["gpt-4.1"]}))


def test_recorded_requests_of_real_clients_are_taken(shared: Path) -> None:
    """Over 500 requests that real agents and SDKs sent pass the rules; the exceptions are known and right."""
    refused: Counter[str] = Counter()
    taken = 0
    for file in sorted((shared / "captures").glob("*/*/*.json")):
        recorded = orjson.loads(file.read_bytes())
        if not isinstance(recorded.get("body"), dict):
            continue
        headers = {name.lower(): value for name, value in recorded["headers"]}
        try:
            check(recorded["path"], headers, recorded["body"])
            taken += 1
        except Refusal as refusal:
            if not any(text in refusal.message for text in FILLER):
                refused[f"{file.parent.name}: {refusal}"] += 1
    assert dict(refused) == {}
    assert taken > 500


def keys(*kinds: Any) -> set[str]:
    """Field names of TypedDicts and what they inherit."""
    found: set[str] = set()
    for kind in kinds:
        for base in (*kind.__mro__, *getattr(kind, "__orig_bases__", ())):
            found |= set(getattr(base, "__annotations__", {}))
    return found


def test_messages_tables_know_every_field_of_the_sdk() -> None:
    """Top-level fields and blocks of the Messages API, as the installed SDK can send them."""
    assert keys(message_create_params.MessageCreateParamsBase) <= anthropic_fields.TOP.all
    assert keys(claude_types.ToolParam) == anthropic_fields.CUSTOM_TOOL.all
    missing = {}
    for name, known in anthropic_fields.BLOCKS.items():
        kind = getattr(claude_types, name.title().replace("_", "") + "BlockParam")
        if unknown := keys(kind) - known.all:
            missing[name] = unknown
    assert missing == {}


def test_openai_tables_know_every_field_of_the_sdk() -> None:
    """Top-level fields, items and messages of OpenAI's wires, as the installed SDK can send them."""
    rare = {"background_options", "access_programs", "image"}
    assert keys(response_create_params.ResponseCreateParamsBase) - rare <= responses_rules.TOP.all
    assert keys(completion_create_params.CompletionCreateParamsBase) <= chat_profiles.OPENAI_TOP.all
    assert keys(responses_types.ResponseFunctionToolCallParam) <= responses_rules.ITEMS["function_call"].all
    assert keys(responses_types.ResponseReasoningItemParam) <= responses_rules.ITEMS["reasoning"].all
    assert keys(responses_types.FunctionToolParam) <= responses_rules.TOOLS["function"].all
    for role in ("system", "user", "assistant", "tool", "developer"):
        kind = getattr(chat_types, f"ChatCompletion{role.title()}MessageParam")
        assert keys(kind) <= chat_profiles.MESSAGES[role].all


@pytest.mark.parametrize("name", ["claude-opus-5-5", "claude-sonnet-4-6"])
def test_model_rows_agree_with_the_shipped_ones(name: str, root: Path) -> None:
    """A shipped model row promises nothing that the emulated model refuses."""
    import yaml

    shipped = yaml.safe_load((root / "policies/models.yaml").read_text(encoding="utf-8"))["models"]
    row, model = shipped.get(f"anthropic/{name}"), rows.CLAUDE[name]
    if row is None:
        pytest.skip(f"no shipped row for {name}")
    assert row["context"] <= model.context
    assert row["max_output"] <= model.max_output
    assert bool(row.get("quirks", {}).get("sampling", True)) <= model.sampling
    assert set(row.get("quirks", {}).get("efforts", ())) <= set(model.efforts)
