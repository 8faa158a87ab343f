"""The Responses API as a provider wire: what is sent, whatever the client said."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.losses import LOSSES
from engine.llm.messages import (
    LLMRequest,
    Message,
    Opaque,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from engine.llm.protocol import Target
from engine.protocols.registry import PROTOCOLS
from tests.emulator.models import GPT
from tests.emulator.responses_rules import Context, Stored, check
from tests.emulator.seals import Seals
from tests.protocols.generate import requests
from tests.protocols.responses_kit import GOLDEN, WIRE, quirks_of, target

NAME = WIRE.name


def encode(*messages: Message, quirks: Quirks | None = None, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    fields.setdefault("protocol", "anthropic-messages")
    return WIRE.encode_request(LLMRequest("asked", messages, **fields), target(quirks))


def user(*blocks: Any) -> Message:
    return Message("user", tuple(Text(b) if isinstance(b, str) else b for b in blocks))


def assistant(*blocks: Any) -> Message:
    return Message("assistant", tuple(Text(b) if isinstance(b, str) else b for b in blocks))


def kinds(body: dict[str, Any]) -> list[str]:
    return [item["type"] for item in body["input"]]


@pytest.mark.parametrize("path", sorted((GOLDEN / "requests").glob("*.json")), ids=lambda path: path.stem)
def test_goldens(path: Path) -> None:
    """A client's request through the neutral words gives exactly this body and these losses, all of them foretold."""
    case = orjson.loads(path.read_bytes())
    client = PROTOCOLS[case["protocol"]]
    request = client.decode_request(case["request"])
    body, losses = WIRE.encode_request(request, target(quirks_of(case["quirks"]), **case["row"]))
    assert case["body"] == body
    assert case["losses"] == losses
    assert set(losses) <= client.survey(case["request"]).requires


class _Trusting(Seals):
    """Takes every seal: generated conversations hold made-up ones."""

    def decrypt(self, content: str, item_id: str = "") -> str:
        return ""


def _row(name: str) -> Target:
    row = GPT[name]
    quirks = Quirks(system_role="developer", sampling=row.sampling, efforts=row.efforts)
    model = Model(
        "p", name, tools=True, vision=True, documents=True, reasoning=row.always_thinks, structured=True,
        max_output=row.max_output,
    )  # fmt: skip
    return Target(Provider("p", {}), model, NAME, quirks)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(requests)
def test_strict_servers_accept_everything(request: LLMRequest) -> None:
    """Whatever a client of another protocol sends, the body is one that the API accepts, and every loss has a code."""
    for protocol in ("anthropic-messages", "openai-chat"):
        for name in ("gpt-4o", "gpt-5", "gpt-6.1-sol"):
            body, losses = WIRE.encode_request(replace(request, protocol=protocol), _row(name))
            check(body, Context(GPT, _Trusting(), Stored()))
            assert set(losses) <= LOSSES.keys()


def test_own_reasoning_goes_back() -> None:
    """Sealed reasoning of this protocol returns whole, before what it led to."""
    thought = Thinking("short", "E", summary=True, id="rs_1", origin=NAME)
    body, losses = encode(user("x"), assistant(thought, ToolCall("c", "read")), user(ToolResult("c")))
    assert body["input"][1] == {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "short"}],
        "encrypted_content": "E",
        "id": "rs_1",
    }
    assert losses == []


@pytest.mark.parametrize(
    "thought",
    [
        Thinking("t", "sig", origin="anthropic-messages"),
        Thinking("t", "{}", origin="openai-chat"),
        Thinking("t", id="rs_1", origin=NAME),
    ],
)
def test_what_can_not_be_verified_stays_here(thought: Thinking) -> None:
    """Another protocol's seal, or reasoning that the provider would have to look up, is dropped and declared."""
    body, losses = encode(user("x"), assistant(thought, "so"), user("y"))
    assert kinds(body) == ["message"] * 3
    assert losses == ["thinking.signature"]


def test_an_echo_is_plain_text() -> None:
    """Providers that want the reasoning back get it readable, whoever made it."""
    body, losses = encode(user("x"), assistant(Thinking("t"), "so"), user("y"), quirks=Quirks(echo_reasoning=True))
    assert body["input"][1] == {
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "t"}],
    }
    assert losses == []


def test_reasoning_is_never_last() -> None:
    """Reasoning that led to nothing is left out: the API refuses it."""
    thought = Thinking(opaque="E", origin=NAME)
    body, losses = encode(user("x"), assistant(thought, thought), user("y"))
    assert kinds(body) == ["message", "message"]
    assert losses == ["thinking.signature"]


def test_results_find_the_call_of_their_turn() -> None:
    """A repeated call id is made unique, and its result goes to the newest turn's call."""
    call, result = ToolCall("call_0", "read"), ToolResult("call_0", (Text("found"),))
    body, _ = encode(user("x"), assistant(call), user("go on"), assistant(call), user(result))
    first, second = (item["call_id"] for item in body["input"] if item["type"] == "function_call")
    outputs = {item["call_id"]: item["output"] for item in body["input"] if item["type"] == "function_call_output"}
    assert {first: "[no result was recorded]", second: "found"} == outputs
    assert first == "call_0"


def test_calls_of_one_turn_may_share_an_id() -> None:
    """Results with the same id answer the calls in order."""
    call = ToolCall("", "read")
    body, _ = encode(user("x"), assistant(call, call), user(ToolResult("", (Text("1"),)), ToolResult("", (Text("2"),))))
    assert [item["output"] for item in body["input"] if "output" in item] == ["1", "2"]
    ids = [item["call_id"] for item in body["input"] if "call_id" in item]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


def test_item_ids_are_the_apis_own_and_sent_once() -> None:
    """Ids of another form would be refused, repeated ones too."""
    body, _ = encode(
        assistant(ToolCall("a", "read", item_id="fc_1"), ToolCall("b", "read", item_id="fc_1"), ToolCall("c", "read", item_id="x"))
    )  # fmt: skip
    assert [item.get("id") for item in body["input"][:3]] == ["fc_1", None, None]


def test_custom_tools_and_namespaces_are_native() -> None:
    """A Chat client's custom tool stays one; its history too."""
    tools = (
        Tool("patch", kind="custom", extra={"format": {"type": "text"}}),
        Tool("group", "G", kind="namespace", members=(Tool("odd.name"),)),
    )
    body, losses = encode(
        user("x"),
        assistant(ToolCall("a", "patch", "raw", kind="custom"), ToolCall("b", "odd.name", namespace="group")),
        user(ToolResult("a"), ToolResult("b")),
        tools=tools,
        protocol="openai-chat",
    )
    assert [tool["type"] for tool in body["tools"]] == ["custom", "namespace"]
    assert body["tools"][1]["tools"][0]["name"] == body["input"][2]["name"]
    assert (body["input"][1]["name"], body["input"][1]["input"]) == ("patch", "raw")
    assert kinds(body)[3:] == ["custom_tool_call_output", "function_call_output"]
    assert losses == []


def test_names_come_back() -> None:
    """A name that had to be shortened is the client's own again in the answer."""
    long = "mcp__" + "x" * 90
    request = LLMRequest("m", (user("x"),), tools=(Tool(long), Tool("n", kind="namespace", members=(Tool("inner"),))))
    body, _ = WIRE.encode_request(request, target())
    item = {"type": "function_call", "call_id": "c", "arguments": "{}"}
    answer = {"output": [{**item, "name": body["tools"][0]["name"]}, {**item, "name": "inner"}]}
    first, second = WIRE.decode_response(answer, quirks=Quirks(), request=replace(request, messages=())).content
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert (long, "n", "inner") == (first.name, second.namespace, second.name)


def test_deferred_tools_wait_for_their_search() -> None:
    """A tool that a client-run search has not found is not shown; one that it found is."""
    found = ToolResult("s", (Opaque("anthropic-messages", {"type": "tool_reference", "tool_name": "b"}),))
    tools = (Tool("search"), Tool("a", deferred=True), Tool("b", deferred=True))
    body, losses = encode(user("x"), assistant(ToolCall("s", "search")), user(found), tools=tools)
    assert [tool["name"] for tool in body["tools"]] == ["search", "b"]
    assert losses == ["tool_search"]


def test_the_providers_own_search_leaves_all_tools_shown() -> None:
    """Without the search that could find them, deferred tools would be lost."""
    search = Tool("s", kind="server", protocol="anthropic-messages", extra={"type": "tool_search_tool_bm25_20251119"})
    body, losses = encode(user("x"), tools=(search, Tool("a", deferred=True)))
    assert [tool["name"] for tool in body["tools"]] == ["a"]
    assert "tool_search" in losses


@pytest.mark.parametrize(
    ("choice", "quirks", "said", "losses"),
    [
        (ToolChoice("required"), Quirks(), "required", []),
        (ToolChoice("tool", "read"), Quirks(), {"type": "function", "name": "read"}, []),
        (ToolChoice("tool", "gone"), Quirks(), "auto", ["forced_tool"]),
        (ToolChoice("required"), Quirks(forced_tools=False), "auto", ["forced_tool"]),
        (ToolChoice("none"), Quirks(forced_tools=False), "none", []),
    ],
)
def test_tool_choice(choice: ToolChoice, quirks: Quirks, said: Any, losses: list[str]) -> None:
    """A forced call only where the model takes one and the tool is offered."""
    body, lost = encode(user("x"), tools=(Tool("read"),), tool_choice=choice, quirks=quirks)
    assert said == body["tool_choice"]
    assert losses == lost


def test_strict_only_where_the_schema_is_closed() -> None:
    """Other vendors' strict mode takes schemas that this API's refuses."""
    inner = {
        "type": "object",
        "properties": {"b": {"type": "string"}},
        "required": ["b"],
        "additionalProperties": False,
    }
    closed = {"type": "object", "properties": {"a": inner}, "required": ["a"], "additionalProperties": False}
    open_inside = {**closed, "properties": {"a": {**inner, "required": []}}}
    schemas = {
        "closed": closed,
        "open_inside": open_inside,
        "open": {"type": "object", "properties": {"a": {}}},
        "none": None,
    }
    tools = tuple(Tool(name, schema=schema, strict=True) for name, schema in schemas.items())
    body, _ = encode(user("x"), tools=(*tools, Tool("silent", schema=closed)))
    assert [tool["name"] for tool in body["tools"] if tool["strict"]] == ["closed"]


def test_what_can_not_be_shown_leaves_a_note() -> None:
    """A tool result is not empty because its content is another protocol's."""
    reference = Opaque("anthropic-messages", {"type": "tool_reference", "tool_name": "b"})
    kept = Opaque("anthropic-messages", {"type": "image", "source": {"type": "file"}})
    body, losses = encode(user("x"), assistant(ToolCall("c", "s")), user(ToolResult("c", (reference, kept))))
    assert body["input"][-1]["output"] == "[the tool b is now available]\n\n[left out: image]"
    assert losses == ["container", "tool_search"]


@pytest.mark.parametrize(
    ("asked", "efforts", "said", "losses"),
    [
        (Reasoning(effort="max"), ("low", "high"), {"effort": "high"}, ["effort.word"]),
        (Reasoning(effort="minimal"), ("low", "high"), {"effort": "low"}, ["effort.word"]),
        (Reasoning(False), ("none", "low"), {"effort": "none"}, []),
        (Reasoning(False), ("low",), {"effort": "low"}, ["thinking.off"]),
        (Reasoning(False), (), None, ["thinking.off"]),
        (Reasoning(effort="default"), ("low",), None, ["effort.word"]),
        (Reasoning(effort="default"), (), None, ["effort.word"]),
        (Reasoning(True, budget_tokens=1024), (), {"effort": "low", "summary": "auto"}, ["thinking.budget"]),
        (Reasoning(True, budget_tokens=8000, summary="omitted"), (), {"effort": "medium"}, ["thinking.budget"]),
        (Reasoning(adaptive=True), (), {"summary": "auto"}, []),
    ],
)
def test_efforts(asked: Reasoning, efforts: tuple[str, ...], said: Any, losses: list[str]) -> None:
    """The nearest effort that the model takes; a client that shows thinking gets a summary."""
    body, lost = encode(user("x"), reasoning=asked, quirks=Quirks(efforts=efforts))
    assert said == body.get("reasoning")
    assert losses == lost


def test_own_extras_go_back() -> None:
    """What only this protocol says is said again; a strict provider is spared what nobody documents."""
    body = {
        "model": "m",
        "input": [{"role": "user", "content": "x"}],
        "store": True,
        "include": ["a"],
        "text": {"verbosity": "low", "format": {"type": "json_object"}},
        "client_metadata": {"session_id": "s"},
        "brand_new": 1,
    }
    request = WIRE.decode_request(body)
    again, losses = WIRE.encode_request(request, target())
    assert {**body, "model": "target-model"} == {**again, "input": body["input"]}
    assert losses == []
    strict, losses = WIRE.encode_request(request, target(Quirks(strict=True)))
    assert {"client_metadata", "brand_new"} == again.keys() - strict.keys()
    assert losses == ["unknown_field"]


class TestRewrite:
    """The preserve path."""

    def test_only_the_model_changes(self) -> None:
        """Order and everything else stay; the client's body is not touched."""
        body = {"z": 1, "model": "m", "input": [{"role": "user", "content": "x"}], "reasoning": {"effort": "high"}}
        before = copy.deepcopy(body)
        rewritten = WIRE.rewrite(body, target())
        assert before == body
        assert list(rewritten) == ["z", "model", "input", "reasoning"]
        assert {**before, "model": "target-model"} == rewritten
        assert rewritten["input"] is body["input"]

    def test_quirks(self) -> None:
        """What the model's row refuses is left out or lowered."""
        body = {
            "model": "m",
            "input": "x",
            "reasoning": {"effort": "max", "summary": "auto"},
            "temperature": 1,
            "user": "u",
        }
        quirks = Quirks(efforts=("low", "high"), sampling=False, drop=("user",))
        assert WIRE.rewrite(body, target(quirks)) == {
            "model": "target-model",
            "input": "x",
            "reasoning": {"effort": "high", "summary": "auto"},
        }

    def test_our_own_reasoning_stays_here(self) -> None:
        """Items that we made of another protocol's reasoning never reach a provider of this one."""
        theirs = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
        ours = {"type": "reasoning", "id": "rs_sbgw_1", "summary": []}
        sealed = {"type": "reasoning", "summary": [], "encrypted_content": "sbgw1.m.h.sig"}
        body = {"model": "m", "input": [theirs, ours, sealed, {"role": "assistant", "content": "x"}]}
        assert [theirs, body["input"][3]] == WIRE.rewrite(body, target())["input"]


@pytest.mark.parametrize(
    ("auth", "key", "headers"),
    [
        ("bearer", "k", {"authorization": "Bearer k"}),
        ("x-api-key", "k", {"x-api-key": "k"}),
        ("none", "k", {}),
        ("bearer", "", {}),
    ],
)
def test_auth_headers(auth: Any, key: str, headers: dict[str, str]) -> None:
    """The key goes where the provider's row says."""
    assert headers == WIRE.auth_headers(Provider("p", {}, auth=auth), key)


def test_recorded_requests(shared: Path) -> None:
    """Every recorded request decodes and comes out with its calls and outputs paired."""
    seen = 0
    for path in sorted((shared / "corpus").glob("*/openai-responses.*.json")):
        body = orjson.loads(path.read_bytes())["request"]["body"]
        if not isinstance(body, dict):
            continue
        seen += 1
        WIRE.survey(body)
        out, _ = WIRE.encode_request(WIRE.decode_request(body), target())
        calls = [i["call_id"] for i in out["input"] if i.get("type") in ("function_call", "custom_tool_call")]
        outputs = [
            i["call_id"]
            for i in out["input"]
            if str(i.get("type")).endswith(("function_call_output", "custom_tool_call_output"))
        ]
        assert sorted(calls) == sorted(outputs), path
    assert seen > 150
