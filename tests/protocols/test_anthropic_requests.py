"""Anthropic Messages as a provider wire: what is sent, whatever the client said."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.errors import ClientError
from engine.llm.losses import LOSSES
from engine.llm.messages import (
    LLMRequest,
    Message,
    OutputFormat,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from engine.llm.protocol import Target, WireProtocol
from engine.protocols.anthropic_messages import AnthropicMessages
from tests.emulator import anthropic_rules
from tests.emulator.models import CLAUDE
from tests.emulator.seals import Seals
from tests.protocols.generate import requests

WIRE = AnthropicMessages()
PROVIDER = Provider("p", {WIRE.name: "http://127.0.0.1"})
GOLDEN = Path(__file__).parent / "golden" / "anthropic"
FIVE = ("low", "medium", "high", "xhigh", "max")


def target(quirks: Quirks | None = None, *, name: str = "m", max_output: int = 64_000, known: bool = True) -> Target:
    model = Model("p", name, max_output=max_output, known=known)
    return Target(PROVIDER, model, WIRE.name, quirks or Quirks())


def encode(request: LLMRequest, quirks: Quirks | None = None) -> tuple[dict[str, Any], list[str]]:
    return WIRE.encode_request(request, target(quirks))


def conversation(*messages: Message, **fields: Any) -> LLMRequest:
    return LLMRequest("m", messages, **fields)


def user(*blocks: Any) -> Message:
    return Message("user", tuple(Text(b) if isinstance(b, str) else b for b in blocks))


def assistant(*blocks: Any) -> Message:
    return Message("assistant", tuple(Text(b) if isinstance(b, str) else b for b in blocks))


def test_promises_the_protocol() -> None:
    """The object has every method of the contract."""
    assert isinstance(WIRE, WireProtocol)


ROWS = {
    "claude-3-5-haiku-20241022": Quirks(thinking="none"),
    "claude-haiku-4-5": Quirks(thinking="budget"),
    "claude-opus-4-5": Quirks(thinking="budget", efforts=("low", "medium", "high")),
    "claude-sonnet-4-6": Quirks(thinking="adaptive", efforts=("low", "medium", "high", "max"), prefill=False),
    "claude-opus-4-8": Quirks(thinking="adaptive", efforts=FIVE, prefill=False, sampling=False),
    "claude-opus-5-5": Quirks(thinking="adaptive", efforts=FIVE, prefill=False, sampling=False, forced_tools=False),
}


@pytest.mark.parametrize("name", ROWS)
@given(request=requests)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_the_strict_api_accepts_every_translation(name: str, request: LLMRequest) -> None:
    """Whatever another protocol's client says, the body keeps every rule of the API, and only known losses are reported."""
    limit = CLAUDE[name].max_output
    try:
        body, losses = WIRE.encode_request(request, target(ROWS[name], name=name, max_output=limit))
    except ClientError:
        return  # nothing is said in it
    body["max_tokens"] = min(
        body["max_tokens"], 100_000
    )  # the window is the gateway's gate to watch, not the encoder's
    anthropic_rules.check(orjson.loads(orjson.dumps(body)), anthropic_rules.Context(CLAUDE, Seals()))
    assert set(losses) <= LOSSES.keys()
    assert sorted(losses) == losses


@pytest.mark.parametrize("path", sorted((GOLDEN / "requests").glob("*.json")), ids=lambda path: path.stem)
def test_goldens(path: Path) -> None:
    """A client's request through the neutral words gives exactly this body and these losses; `rewrite` gives that body."""
    case = orjson.loads(path.read_bytes())
    quirks = Quirks(**{key: tuple(v) if isinstance(v, list) else v for key, v in case.get("quirks", {}).items()})
    before = copy.deepcopy(case["request"])
    aim = target(quirks, name="target-model")
    body, losses = WIRE.encode_request(WIRE.decode_request(case["request"]), aim)
    assert case["body"] == body
    assert case["losses"] == losses
    assert set(losses) <= WIRE.survey(case["request"]).requires
    if "rewritten" in case:
        rewritten = WIRE.rewrite(case["request"], aim)
        assert case["rewritten"] == rewritten
        assert [key for key in before if key in rewritten] == [key for key in rewritten if key in before]
    assert before == case["request"]


def test_results_are_gathered_behind_their_calls() -> None:
    """Parallel results that come late, apart or out of order end in the one user message right after the calls."""
    calls = assistant("thinking aloud", ToolCall("a", "read"), ToolCall("b", "read"))
    body, _ = encode(
        conversation(user("go"), calls, Message("system", (Text("note"),)), user("more", ToolResult("b", (Text("B"),))),
                     assistant("meanwhile"), user(ToolResult("a", (Text("A"),)), "and")),
    )  # fmt: skip
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant", "user", "system", "user", "assistant", "user"]
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == ["b", "a"]
    assert body["messages"][4]["content"] == [{"type": "text", "text": "more"}]


def test_an_unanswered_call_is_answered_as_interrupted() -> None:
    """A call without a result gets an error result; a result without a call becomes text."""
    body, losses = encode(
        conversation(user("go"), assistant(ToolCall("a", "read")), user(ToolResult("zz", (Text("lost"),))))
    )
    result, *said = body["messages"][2]["content"]
    assert (result["tool_use_id"], result["is_error"]) == ("a", True)
    assert [text["text"] for text in said] == ["[result of tool call zz]", "lost"]
    assert {"tool_result.missing", "tool_result.orphan"} <= set(losses)


def test_repeated_ids_become_unique() -> None:
    """Models that count their calls from zero in every turn are told apart, results included."""
    turn = (assistant(ToolCall("functions.read:0", "read")), user(ToolResult("functions.read:0", (Text("x"),))))
    body, _ = encode(conversation(user("go"), *turn, *turn))
    asked = [body["messages"][n]["content"][0]["id"] for n in (1, 3)]
    answered = [body["messages"][n]["content"][0]["tool_use_id"] for n in (2, 4)]
    assert asked == answered
    assert len(set(asked)) == 2


def test_malformed_arguments_are_kept_as_text() -> None:
    """An object is sent that holds what the model wrote."""
    body, _ = encode(conversation(user("go"), assistant(ToolCall("a", "read", '{"path": "x'))))
    assert body["messages"][1]["content"][0]["input"] == {"raw_arguments": '{"path": "x'}


def test_foreign_thinking_is_dropped_and_own_kept() -> None:
    """A signature goes back to the protocol that made it and to no other."""
    own = Thinking("mine", "c2ln", origin="anthropic-messages")
    hidden = Thinking(opaque="ZGF0YQ==", redacted=True, origin="anthropic-messages")
    foreign = Thinking("theirs", "b3Bh", origin="openai-responses")
    body, losses = encode(conversation(user("go"), assistant(own, hidden, foreign, "done"), user("on")))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "mine", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "done"},
    ]
    assert losses == ["thinking.signature"]


@pytest.mark.parametrize(
    ("asked", "quirks", "expected", "lost"),
    [
        (Reasoning(effort="high"), Quirks(), (None, "high"), []),
        (Reasoning(effort="minimal"), Quirks(), (None, "low"), ["effort.word"]),
        (Reasoning(effort="none"), Quirks(), ({"type": "disabled"}, ""), []),
        (Reasoning(effort="none"), Quirks(thinking="adaptive", efforts=FIVE), (None, "low"), ["thinking.off"]),
        (Reasoning(effort="xhigh"), Quirks(thinking="adaptive", efforts=("low", "high")), ({"type": "adaptive"}, "high"), ["effort.word"]),
        (Reasoning(True, budget_tokens=31999), Quirks(thinking="adaptive"), ({"type": "adaptive"}, "xhigh"), ["thinking.budget"]),
        (Reasoning(True, budget_tokens=31999), Quirks(), ({"type": "enabled", "budget_tokens": 31999}, ""), []),
        (Reasoning(True, budget_tokens=99999), Quirks(), ({"type": "enabled", "budget_tokens": 63999}, ""), ["thinking.budget"]),
        (Reasoning(effort="low"), Quirks(thinking="budget"), ({"type": "enabled", "budget_tokens": 4096}, ""), []),
        (Reasoning(True, "medium", adaptive=True), Quirks(thinking="none"), (None, ""), ["effort"]),
        (Reasoning(effort="high", summary="auto"), Quirks(thinking="adaptive"), ({"type": "adaptive", "display": "summarized"}, "high"), []),
    ],
)  # fmt: skip
def test_thinking_takes_the_form_of_the_model(asked: Reasoning, quirks: Quirks, expected: Any, lost: list[str]) -> None:
    """Budget, adaptive with effort, or none, and what is lost on the way."""
    body, losses = encode(conversation(user("go"), reasoning=asked), quirks)
    assert expected == (body.get("thinking"), body.get("output_config", {}).get("effort", ""))
    assert lost == losses


def test_a_small_limit_leaves_no_room_for_a_budget() -> None:
    """Thinking is left out rather than sent with an impossible budget."""
    body, losses = encode(
        conversation(user("go"), reasoning=Reasoning(True, budget_tokens=2000), max_output_tokens=500)
    )
    assert "thinking" not in body
    assert losses == ["thinking.budget"]


def test_quirks_turn_off_what_a_model_refuses() -> None:
    """Sampling, prefill, forced tools, parallel switch, mid-conversation system and named fields."""
    request = conversation(
        user("go"), Message("developer", (Text("be brief"),)), assistant("I think "),
        tools=(Tool("read"),), tool_choice=ToolChoice("required"), parallel_tool_calls=False, temperature=0.5, top_k=3, user="me",
    )  # fmt: skip
    quirks = Quirks(
        sampling=False, prefill=False, forced_tools=False, parallel_tools=False, mid_system=False, drop=("metadata",)
    )
    body, losses = encode(request, quirks)
    assert losses == ["forced_tool", "parallel_tools", "prefill", "sampling", "system.mid", "top_k", "user"]
    assert {"model", "max_tokens", "messages", "tools", "tool_choice"} == body.keys()
    assert body["tool_choice"] == {"type": "auto"}
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "go"}, {"type": "text", "text": "be brief"}]


def test_a_prefill_ends_without_white_space() -> None:
    """The API refuses a begun answer that ends in white space."""
    body, losses = encode(conversation(user("go"), assistant("I think ")))
    assert body["messages"][1]["content"] == [{"type": "text", "text": "I think"}]
    assert losses == []


def test_an_odd_block_at_the_end_passes() -> None:
    """A last block that calls itself text and holds none goes out as it came."""
    odd = {"type": "text", "note": 1}
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [odd]}]
    body, _ = encode(AnthropicMessages().decode_request({"model": "m", "max_tokens": 9, "messages": said}))
    assert body["messages"][-1]["content"] == [odd]


@pytest.mark.parametrize(
    ("asked", "quirks", "known", "expected", "lost"),
    [
        (None, Quirks(), True, 64_000, []),
        (None, Quirks(default_max_tokens=8192), True, 8192, []),
        (100, Quirks(), True, 100, []),
        (100_000, Quirks(), True, 64_000, ["max_output_tokens"]),
        (100_000, Quirks(), False, 100_000, []),
        (0, Quirks(), True, 1, []),
    ],
)
def test_max_tokens_is_always_there(
    asked: int | None, quirks: Quirks, known: bool, expected: int, lost: list[str]
) -> None:
    """The client's limit, lowered to a known model's own, else the row's default."""
    request = conversation(user("go"), max_output_tokens=asked)
    body, losses = WIRE.encode_request(request, target(quirks, known=known))
    assert (expected, lost) == (body["max_tokens"], losses)


def test_structured_output_is_native_or_in_words() -> None:
    """A schema goes into `output_config`; without support, or for plain JSON mode, the system text asks for it."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    request = conversation(user("go"), output_format=OutputFormat("json_schema", "x", schema))
    body, losses = encode(request)
    assert ({"format": {"type": "json_schema", "schema": schema}}, []) == (body["output_config"], losses)
    for other, quirks, code in (
        (request, Quirks(json_schema=False), "output_format"),
        (replace(request, output_format=OutputFormat("json_object")), None, "output_format.json"),
    ):
        body, losses = encode(other, quirks)
        assert "output_config" not in body
        assert "JSON object" in body["system"][-1]["text"]
        assert losses == [code]


def test_custom_tools_and_namespaces_become_functions() -> None:
    """Their calls in the history follow, and names stay within the API's alphabet."""
    tools = (Tool("patch", kind="custom"), Tool("fs", kind="namespace", members=(Tool("read"),)))
    calls = assistant(ToolCall("1", "patch", "*** text", kind="custom"), ToolCall("2", "read", "{}", namespace="fs"))
    results = user(ToolResult("1", (Text("ok"),), kind="custom"), ToolResult("2", (Text("ok"),)))
    body, losses = encode(conversation(user("go"), calls, results, tools=tools, protocol="openai-responses"))
    assert [tool["name"] for tool in body["tools"]] == ["patch", "fs__read"]
    first, second = body["messages"][1]["content"]
    assert (first["name"], first["input"]) == ("patch", {"input": "*** text"})
    assert second["name"] == "fs__read"
    assert losses == ["namespace"]


def test_a_request_without_words_says_so() -> None:
    """Other protocols answer a conversation that says nothing; system text alone is said by the user."""
    body, _ = encode(conversation(user("")))
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "(The user says nothing.)"}]}]
    body, _ = encode(conversation(Message("system", (Text("do it"),))))
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "do it"}]}]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": "hi"},
        {"model": "", "messages": [{"role": "user", "content": "hi"}]},
        {"model": "m", "messages": ["hi"]},
        {"model": "m", "messages": [{"content": "hi"}]},
    ],
)
def test_what_can_not_be_a_request(body: dict[str, Any]) -> None:
    """Survey and decoder name the field."""
    for reader in (WIRE.survey, WIRE.decode_request):
        with pytest.raises(ClientError) as caught:
            reader(body)
        assert caught.value.field.split("[")[0] in ("model", "messages")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", "many"),
        ("temperature", "hot"),
        ("stop_sequences", "STOP"),
        ("tools", {}),
        ("tools", [{"description": "no name"}]),
        ("tool_choice", "auto"),
        ("system", 3),
        ("messages", [{"role": "tool", "content": "x"}]),
        ("messages", [{"role": "user", "content": 3}]),
    ],
)
def test_unreadable_fields_are_named(field: str, value: Any) -> None:
    """The decoder refuses what it cannot read, and says where."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], field: value}
    with pytest.raises(ClientError) as caught:
        WIRE.decode_request(body)
    assert caught.value.field.startswith(field)


def test_auth_headers() -> None:
    """The key goes where the row says; a caller's own credential is nobody's business here."""
    version = {"anthropic-version": "2023-06-01"}
    assert {**version, "x-api-key": "k"} == WIRE.auth_headers(replace(PROVIDER, auth="x-api-key"), "k")
    assert {**version, "Authorization": "Bearer k"} == WIRE.auth_headers(PROVIDER, "k")
    assert version == WIRE.auth_headers(replace(PROVIDER, auth="client"), "k")
    assert version == WIRE.auth_headers(replace(PROVIDER, auth="none"), "")
