"""Chat Completions as a provider wire: what is sent, whatever the client said."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.errors import ClientError
from engine.llm.losses import LOSSES
from engine.llm.messages import (
    Document,
    Image,
    LLMRequest,
    Opaque,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from engine.llm.messages import Message as Say
from tests.emulator.chat_profiles import PROFILES
from tests.emulator.chat_rules import Context, check
from tests.protocols.chat_kit import ABLE, WIRE, assistant, encode, golden, request, target, user
from tests.protocols.generate import requests

READ = Tool("read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PNG = Image("image/png", "aGVsbG8=")


def system(text: str, role: Any = "system") -> Say:
    return Say(role, (Text(text),))


def result(call_id: str, *content: Any, is_error: bool = False) -> ToolResult:
    return ToolResult(call_id, tuple(Text(c) if isinstance(c, str) else c for c in content), is_error)


AGENT = request(
    Say("system", (Text("x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli;"), Text("Be brief."), Text("Rules."))),
    user("Look at a and b."),
    assistant(
        Thinking("I shall look.", "sig", origin="anthropic-messages"),
        "Looking.",
        ToolCall("toolu_1", "read", '{"path":"a"}'),
        ToolCall("toolu_2", "shot", "{}"),
    ),
    system("A reminder."),
    user(result("toolu_2", "one picture", PNG), result("toolu_1", "no such file", is_error=True), "And now?"),
    tools=(READ, Tool("shot", schema={"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"})),
    tool_choice=ToolChoice("required"),
    max_output_tokens=128_000,
    temperature=1.0,
    stop=("END",),
    stream=True,
    reasoning=Reasoning(True, budget_tokens=31_999),
    user="u" * 160,
)  # fmt: skip
"""A turn as a coding agent has it: hidden reasoning, parallel calls, results out of order, a picture, a failure."""


@pytest.mark.parametrize(
    ("name", "quirks", "model"),
    [
        ("plain", Quirks(), ABLE),
        (
            "strict",
            Quirks(strict=True, tool_id="alnum9", tool_choice_any="any", mid_system=False, drop=("user",)),
            replace(ABLE, vision=False, reasoning=False),
        ),
        (
            "newest",
            Quirks(
                max_tokens_field="max_completion_tokens", system_role="developer", sampling=False, drop=("stop",),
                tools_with_reasoning=False, efforts=("none", "low", "high"),
            ),
            ABLE,
        ),
        (
            "echo",
            Quirks(echo_reasoning=True, reasoning_param="thinking", efforts=("high", "max"), forced_tools=False),
            ABLE,
        ),
    ],
)  # fmt: skip
def test_an_agents_turn(name: str, quirks: Quirks, model: Any) -> None:
    """The whole body and the losses, per kind of provider."""
    body, losses = encode(AGENT, quirks, model)
    golden(f"agent.{name}.json", {"body": body, "losses": losses})


def messages(*said: Any, quirks: Quirks | None = None, model: Any = ABLE, **fields: Any) -> Any:
    return encode(request(*said, **fields), quirks, model)[0]["messages"]


def test_a_call_without_a_result_gets_a_note() -> None:
    """Servers refuse an unanswered call."""
    sent = messages(user("hi"), assistant(ToolCall("a", "f")), user("never mind"))
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "user"]
    assert sent[2] == {"role": "tool", "tool_call_id": "a", "content": "[no result was recorded]"}


def test_a_result_without_a_call_is_user_text() -> None:
    """Nothing a tool gave is lost, though its call is gone."""
    assert messages(user(result("gone", "42"), "so?")) == [
        {"role": "user", "content": "[result of tool call gone]\n42\n\nso?"}
    ]


def test_a_late_result_stands_behind_its_call() -> None:
    """A message between a call and its result moves behind both."""
    sent = messages(user("hi"), assistant(ToolCall("a", "f")), system("note"), user(result("a", "1")))
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "system"]


def test_repeated_ids_are_told_apart() -> None:
    """Models that count from zero in every turn keep their pairs."""
    turn = (assistant(ToolCall("f:0", "f"), ToolCall("f:0", "g")), user(result("f:0", "1"), result("f:0", "2")))
    sent = messages(user("hi"), *turn, *turn)
    made = [c["id"] for m in sent for c in m.get("tool_calls", ())]
    answered = [(m["tool_call_id"], m["content"]) for m in sent if m["role"] == "tool"]
    assert len(set(made)) == 4
    assert answered == list(zip(made, ["1", "2", "1", "2"], strict=True))


@pytest.mark.parametrize("rule", ["alnum9", "word"])
def test_ids_fit_in_calls_and_results_alike(rule: Any) -> None:
    """A call and its result bear the same acceptable id."""
    sent = messages(
        user("hi"),
        assistant(ToolCall("functions.f:0", "f")),
        user(result("functions.f:0", "1")),
        quirks=Quirks(tool_id=rule),
    )
    call_id = sent[1]["tool_calls"][0]["id"]
    assert sent[2]["tool_call_id"] == call_id
    assert call_id.replace("_", "").replace("-", "").isalnum()
    assert rule == "word" or len(call_id) == 9


def test_one_turn_in_several_items_is_one_message() -> None:
    """Responses items of one turn, each a message of its own, go out together."""
    sent = messages(
        user("hi"),
        assistant(Thinking("hm")),
        assistant(ToolCall("a", "f")),
        assistant("text"),
        assistant(ToolCall("b", "f")),
        user(result("a", "1")),
        user(result("b", "2")),
        protocol="openai-responses",
    )
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]
    assert sent[1]["content"] == "text"
    assert [c["id"] for c in sent[1]["tool_calls"]] == ["a", "b"]


def test_only_one_system_message_where_more_are_refused() -> None:
    """Leading system texts join, later ones are user text beside what the user says."""
    sent = messages(system("a"), system("b", "developer"), user("hi"), system("c"), quirks=Quirks(mid_system=False))
    assert sent == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "hi\n\n<system-reminder>\nc\n</system-reminder>"},
    ]


@pytest.mark.parametrize(
    ("block", "shown", "codes"),
    [
        (PNG, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}, []),
        (Document("text/plain", text="words", title="t"), {"type": "text", "text": "t\n\nwords"}, []),
        (Document("application/pdf", "aGk=", title="a.pdf"),
         {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}, []),
        (Document(file_id="f", title="a"), {"type": "text", "text": "[a document was left out: a]"}, ["container"]),
        (Text("x", extra={"cache_control": {}}), {"type": "text", "text": "x"}, ["cache_control"]),
        (Text("x", extra={"citations": [1]}), {"type": "text", "text": "x"}, ["citations"]),
    ],
)  # fmt: skip
def test_user_content(block: Any, shown: Any, codes: list[str]) -> None:
    """What a part becomes, and what is lost."""
    body, losses = encode(request(user(block, PNG)))
    assert (body["messages"][0]["content"][0], losses) == (shown, codes)


def test_a_model_without_eyes_gets_a_note() -> None:
    """Images are named as left out, in the text and as a loss."""
    body, losses = encode(request(user(PNG, "what?")), model=replace(ABLE, vision=False))
    assert body["messages"][0]["content"] == "[an image was left out: this model reads text only]\n\nwhat?"
    assert losses == ["image"]


@pytest.mark.parametrize(
    ("thinking", "expected", "codes"),
    [
        ((Thinking("hm", "sig", origin="anthropic-messages"),), "hm", []),
        ((Thinking("", "sig", origin="anthropic-messages"),), " ", ["thinking.signature"]),
        ((), " ", []),
    ],
)
def test_reasoning_is_echoed_where_it_must_come_back(thinking: Any, expected: str, codes: list[str]) -> None:
    """Its text whatever its origin; a blank where there is none and tools are in play."""
    said = (user("hi"), assistant(*thinking, ToolCall("a", "f")), user(result("a", "1")))
    body, losses = encode(request(*said, tools=(READ,)), Quirks(echo_reasoning=True))
    assert (body["messages"][1]["reasoning_content"], losses) == (expected, codes)
    body, losses = encode(request(*said, tools=(READ,)))
    assert "reasoning_content" not in body["messages"][1]


def test_a_seal_goes_back_where_it_came_from() -> None:
    """Details, message state and a call's state return to the model that made them, and to no other."""
    details = [{"type": "reasoning.encrypted", "data": "x", "index": 0}]
    answer = WIRE.decode_response(
        {
            "id": "c", "model": "maker/m-20250101",
            "choices": [{"finish_reason": "tool_calls", "message": {
                "content": None, "reasoning_details": details,
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"},
                     "extra_content": {"google": {"thought_signature": "s"}}},
                ],
            }}],
        },
        quirks=Quirks(),
    )  # fmt: skip
    said = request(user("hi"), Say("assistant", answer.content), user(result("a", "1"), result("b", "2")))
    body, losses = encode(said)
    sent = body["messages"][1]
    assert sent["reasoning_details"] == details
    assert [c.get("extra_content") for c in sent["tool_calls"]] == [None, {"google": {"thought_signature": "s"}}]
    assert losses == []
    body, losses = encode(said, model=replace(ABLE, name="other"))
    assert "reasoning_details" not in body["messages"][1]
    assert losses == ["thinking.signature"]


@pytest.mark.parametrize(
    ("asked", "quirks", "sent", "codes"),
    [
        (Reasoning(effort="high"), Quirks(), {"reasoning_effort": "high"}, []),
        (Reasoning(effort="xhigh"), Quirks(efforts=("low", "high")), {"reasoning_effort": "high"}, ["effort.word"]),
        (Reasoning(effort="minimal"), Quirks(efforts=("high", "max")), {"reasoning_effort": "high"}, ["effort.word"]),
        (Reasoning(True, budget_tokens=31_999), Quirks(), {"reasoning_effort": "high"}, ["thinking.budget"]),
        (Reasoning(True, budget_tokens=1024), Quirks(), {"reasoning_effort": "low"}, ["thinking.budget"]),
        (Reasoning(False), Quirks(), {}, ["thinking.off"]),
        (Reasoning(effort="default"), Quirks(), {}, ["effort.word"]),
        (Reasoning(False), Quirks(efforts=("none", "low")), {"reasoning_effort": "none"}, []),
        (Reasoning(effort="high"), Quirks(reasoning_param="none"), {}, ["effort"]),
        (Reasoning(effort="high"), Quirks(reasoning_param="reasoning"), {"reasoning": {"effort": "high"}}, []),
        (Reasoning(False), Quirks(reasoning_param="reasoning"), {"reasoning": {"enabled": False}}, []),
        (Reasoning(effort="low"), Quirks(reasoning_param="thinking"), {"thinking": {"type": "enabled"}}, []),
        (Reasoning(False), Quirks(reasoning_param="thinking"), {"thinking": {"type": "disabled"}}, []),
        (Reasoning(effort="max"), Quirks(reasoning_param="thinking", efforts=("high", "max")),
         {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}, []),
        (Reasoning(adaptive=True), Quirks(), {}, []),
    ],
)  # fmt: skip
def test_reasoning_is_asked_for_in_the_providers_words(asked: Any, quirks: Quirks, sent: Any, codes: list[str]) -> None:
    """Effort, budget and the switch, by quirk."""
    body, losses = encode(request(user("hi"), reasoning=asked), quirks)
    assert {k: v for k, v in body.items() if k in {"reasoning_effort", "reasoning", "thinking"}} == sent
    assert losses == codes


@pytest.mark.parametrize(
    ("quirks", "model", "form", "codes"),
    [
        (Quirks(), ABLE, "json_schema", []),
        (Quirks(json_schema=False), ABLE, "json_object", ["output_format"]),
        (Quirks(), replace(ABLE, structured=False), None, ["output_format"]),
    ],
)
def test_structured_output_by_what_the_target_can(quirks: Quirks, model: Any, form: Any, codes: list[str]) -> None:
    """By schema, as plain JSON with the schema in words, or in words alone."""
    wanted = OutputFormat("json_schema", "a b", {"type": "object"})
    body, losses = encode(request(user("hi"), output_format=wanted), quirks, model)
    assert body.get("response_format", {}).get("type") == form
    assert losses == codes
    assert ("JSON Schema" in body["messages"][0]["content"]) == bool(codes)
    if form == "json_schema":
        assert body["response_format"]["json_schema"] == {"name": "a_b", "schema": {"type": "object"}}


def test_tools_of_every_kind() -> None:
    """Namespaces are flattened, custom tools take a text, searched-for tools wait, provider tools go."""
    tools = (
        READ,
        Tool(
            "apply",
            "Applies.",
            kind="custom",
            extra={"format": {"type": "grammar", "syntax": "lark", "definition": "x: y"}},
        ),
        Tool("team", kind="namespace", members=(Tool("spawn", "Spawns."),)),
        Tool("found", "Found.", deferred=True),
        Tool("hidden", "Hidden.", deferred=True),
        Tool("any", schema={"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}),
        Tool("web_search", kind="server", extra={"type": "web_search_20250305"}),
        Tool("code", kind="server", extra={"type": "code_execution_20250825"}),
    )
    reference = Opaque("anthropic-messages", {"type": "tool_reference", "tool_name": "found"})
    said = (user("hi"), assistant(ToolCall("a", "search")), user(ToolResult("a", (reference,))))
    body, losses = encode(
        request(*said, tools=tools, tool_choice=ToolChoice("tool", "spawn"), parallel_tool_calls=False)
    )
    golden(
        "tools.json", {key: body[key] for key in ("tools", "tool_choice", "parallel_tool_calls")} | {"losses": losses}
    )
    assert body["messages"][2]["content"] == "[tool found is now available]"


def test_custom_calls_come_back_as_custom_calls() -> None:
    """Told the request, a decoder restores what the encoder flattened."""
    tools = (Tool("apply", kind="custom"), Tool("team", kind="namespace", members=(Tool("spawn"),)))
    asked = request(user("hi"), assistant(ToolCall("a", "apply", "*** Begin", kind="custom")), tools=tools)
    body, _ = encode(asked)
    made = body["messages"][1]["tool_calls"][0]["function"]
    assert made == {"name": "apply", "arguments": '{"input":"*** Begin"}'}
    names = [tool["function"]["name"] for tool in body["tools"]]
    answer = WIRE.decode_response(
        {
            "choices": [{"message": {"tool_calls": [
                {"id": "x", "function": {"name": names[0], "arguments": '{"input":"*** End"}'}},
                {"id": "y", "function": {"name": names[1], "arguments": "{}"}},
            ]}}],
        },
        quirks=Quirks(),
        request=asked,
    )  # fmt: skip
    assert answer.content == (
        ToolCall("x", "apply", "*** End", kind="custom"),
        ToolCall("y", "spawn", "{}", namespace="team"),
    )


def test_limits_and_keys() -> None:
    """The output limit is the model's, defaults are filled, long keys are hashed, extras of others are left out."""
    long = "k" * 100
    asked = request(
        user("hi"), max_output_tokens=10**6, user=long, cache_key=long, top_k=4, seed=5, service_tier="auto",
        stop=("a", "b", "c", "d", "e"), extra={"container": "c"}, extra_losses=frozenset({"container"}),
    )  # fmt: skip
    body, losses = encode(asked, Quirks(seed_field="random_seed"))
    assert (body["max_tokens"], len(body["user"]), body["random_seed"], body["stop"]) == (64_000, 64, 5, list("abcd"))
    assert body["user"] == body["prompt_cache_key"]
    assert losses == ["container", "max_output_tokens", "stop.form", "top_k", "user.long"]
    body, _ = encode(request(user("hi")), Quirks(default_max_tokens=4096, max_tokens_field="max_completion_tokens"))
    assert body["max_completion_tokens"] == 4096


def test_nothing_is_sent_for_nothing() -> None:
    """A bare request makes a bare body: no nulls, no empty lists."""
    assert encode(request(user("hi"), tool_choice=ToolChoice("auto"), parallel_tool_calls=True)) == (
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        [],
    )


QUIRKS = st.builds(
    Quirks,
    max_tokens_field=st.sampled_from(["", "max_completion_tokens"]),
    mid_system=st.booleans(),
    tool_id=st.sampled_from(["any", "word", "alnum9"]),
    echo_reasoning=st.booleans(),
    sampling=st.booleans(),
    forced_tools=st.booleans(),
    parallel_tools=st.booleans(),
    strict=st.booleans(),
    prefill=st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests, QUIRKS)
def test_any_conversation_keeps_the_order_servers_insist_on(asked: LLMRequest, quirks: Quirks) -> None:
    """Whatever the history looks like: calls are answered at once, ids pair up, nothing changes the request."""
    before = copy.deepcopy(asked)
    body, losses = encode(asked, quirks)
    assert asked == before
    assert set(losses) <= set(LOSSES)
    orjson.dumps(body)
    waiting: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
            continue
        assert waiting == []
        waiting = [call["id"] for call in message.get("tool_calls", ())]
        assert len(set(waiting)) == len(waiting)
    assert waiting == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests)
def test_a_strict_server_takes_any_conversation(asked: LLMRequest) -> None:
    """The emulator that refuses what strict vendors refuse has nothing to say."""
    profile = PROFILES["strict"]
    name, row = "llama-4-coder", profile.models["llama-4-coder"]
    model = replace(ABLE, name=name, max_output=row.max_output, reasoning=False, documents=False)
    quirks = Quirks(strict=True, tool_id="alnum9", drop=("prompt_cache_key",), system_role="system")
    body, _ = WIRE.encode_request(asked, target(quirks, model))
    check(body, Context(profile, profile.models))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests)
def test_the_first_vendor_takes_any_conversation(asked: LLMRequest) -> None:
    """A reasoning model that wants its own limit field and refuses sampling and stops."""
    profile = PROFILES["openai"]
    row = profile.models["gpt-5"]
    model = replace(ABLE, name="gpt-5", max_output=row.max_output)
    quirks = Quirks(
        strict=True, max_tokens_field="max_completion_tokens", system_role="developer", sampling=False, drop=("stop",),
        efforts=row.efforts,
    )  # fmt: skip
    body, _ = WIRE.encode_request(asked, target(quirks, model))
    check(body, Context(profile, profile.models))


PARTS = st.sampled_from(
    [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
    ]
)
BODIES = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": st.lists(
            st.one_of(
                st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": st.just("x")}),
                st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(PARTS, min_size=2, max_size=3)}),
                st.fixed_dictionaries({"role": st.just("assistant"), "content": st.sampled_from(["x", "y"])}),
            ),
            min_size=1,
            max_size=4,
        ),
    },
    optional={
        "temperature": st.floats(0, 2),
        "max_tokens": st.integers(1, 1000),
        "stop": st.sampled_from([["a"], ["a", "b"]]),
        "seed": st.integers(0, 9),
        "tools": st.just([{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}]),
        "reasoning_effort": st.sampled_from(["low", "high"]),
        "response_format": st.sampled_from([{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}]),
        "user": st.just("u"),
        "service_tier": st.just("flex"),
        "min_p": st.just(0.5),
        "n": st.just(2),
        "stream": st.just(True),
    },
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(BODIES)
def test_its_own_requests_survive_the_trip(body: dict[str, Any]) -> None:
    """Decoding what was encoded gives the request again, and the survey never contradicts the decoder."""
    try:
        decoded = WIRE.decode_request(body)
    except ClientError:
        raise AssertionError("a plain request is refused") from None
    sent, losses = WIRE.encode_request(decoded, target(Quirks(stream_usage=False)))
    assert WIRE.decode_request(sent) == decoded
    assert set(losses) <= WIRE.survey(body).requires
    assert WIRE.survey(sent) == WIRE.survey(body)


def test_refusals_are_text_for_others() -> None:
    """A refusal in the history is said, in its own field only to who sent it so."""
    assert messages(user("hi"), assistant(Refusal("no")), user("why?"))[1] == {"role": "assistant", "content": "no"}
