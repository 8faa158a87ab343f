"""What wedges sessions elsewhere, each as a test named after the symptom: thoughts, signatures and sealed state."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest

from engine.llm.catalogue import Quirks
from engine.llm.losses import lost, severity
from engine.llm.messages import LLMRequest, LLMResponse, Message, Reasoning, Text, Thinking, ToolCall, ToolResult
from engine.protocols.registry import PROTOCOLS as WIRES
from tests.fidelity.clients import Sdks
from tests.fidelity.requests import check, target
from tests.fidelity.test_symptoms import CHAT, MESSAGES, RESPONSES, decoded, sse, streamed

NAMES = ("anthropic-messages", "openai-chat", "openai-responses")
SIGNED = Thinking("I think.", "c2lnbmVk", origin="anthropic-messages")
HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "go"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "one", "signature": "YQ=="},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": 2}},
            {"type": "thinking", "thinking": "", "signature": "Yg=="},
            {"type": "redacted_thinking", "data": "Yw=="},
            {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": i, "content": "ok"} for i in ("toolu_1", "toolu_2")]},
]  # fmt: skip
ASKED = {
    "model": "claude-old",
    "max_tokens": 100,
    "messages": HISTORY,
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
}


def request(*messages: Message, protocol: str = "anthropic-messages", **more: Any) -> LLMRequest:
    return LLMRequest("m", messages, protocol=protocol, **more)


def user(*blocks: Any) -> Message:
    return Message("user", tuple(Text(b) if isinstance(b, str) else b for b in blocks))


def assistant(*blocks: Any) -> Message:
    return Message("assistant", tuple(Text(b) if isinstance(b, str) else b for b in blocks))


def test_01_replayed_thinking_is_restructured_and_can_not_be_modified() -> None:
    """Interleaved thoughts and calls go back to the byte, whatever the model."""
    sent = MESSAGES.rewrite(ASKED, target("anthropic-messages"))
    assert orjson.dumps(sent) == orjson.dumps({**ASKED, "model": "m"})


def test_02_clients_store_an_empty_signature() -> None:
    """The signature comes in a `signature_delta` of the thinking block, before its end."""
    raw = streamed(MESSAGES, SIGNED, Text("hi")).decode()
    assert raw.index("signature_delta") < raw.index("content_block_stop")
    assert Sdks().stream("anthropic-messages", raw.encode()).state == ["c2lnbmVk"]


def test_03_reasoning_details_of_chat_requests_never_reach_the_provider() -> None:
    """They are the client's words and pass."""
    details = [{"type": "reasoning.encrypted", "data": "eA==", "format": "x", "index": 0}]
    told = {"role": "assistant", "content": "a", "reasoning_details": details}
    body = {"model": "old", "messages": [{"role": "user", "content": "q"}, told, {"role": "user", "content": "q"}]}
    assert CHAT.rewrite(body, target("openai-chat"))["messages"][1] == told


def test_04_reasoning_is_lost_on_all_requests_of_several_turns() -> None:
    """A vendor that insists on it gets reasoning with every turn of a tool loop, its own text where there is one."""
    thought = Thinking("because", origin="openai-chat")
    turns = [m for n in "ab" for m in (assistant(thought, ToolCall(n, "f")), user(ToolResult(n, (Text("ok"),))))]
    body, _ = CHAT.encode_request(
        request(user("go"), *turns), target("openai-chat", quirks=Quirks(echo_reasoning=True))
    )
    assert [m["reasoning_content"] for m in body["messages"] if m["role"] == "assistant"] == ["because"] * 2


def test_05_after_a_switch_thinking_signature_should_be_a_valid_string() -> None:
    """Reasoning of a vendor without signatures, shown to a Messages client, does not go to one with signatures."""
    made = CHAT.decode_response(
        {"choices": [{"message": {"content": "hi", "reasoning_content": "hm"}, "finish_reason": "stop"}]},
        quirks=Quirks(),
    )
    shown = MESSAGES.encode_response(made, model="m")["content"]
    assert [block["type"] for block in shown] == ["thinking", "text"]
    body = {**ASKED, "messages": [HISTORY[0], {"role": "assistant", "content": shown}, HISTORY[0]]}
    sent = MESSAGES.rewrite(body, target("anthropic-messages"))
    check(sent, "anthropic-messages")
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["text"]


def test_06_streaming_loses_the_signature() -> None:
    """It is read from `signature_delta`, by that name and no other."""
    raw = _thinking_stream(*[{"type": "signature_delta", "signature": "c2lnbmVk"}])
    assert decoded(MESSAGES, raw).content[0] == Thinking("I think.", "c2lnbmVk", origin="anthropic-messages")


def test_07_thinking_that_is_only_a_signature_is_dropped_as_empty() -> None:
    """Hidden thinking is thinking."""
    block = Thinking("", "c2lnbmVk", origin="anthropic-messages")
    raw = _thinking_stream({"type": "signature_delta", "signature": "c2lnbmVk"}, text="")
    assert decoded(MESSAGES, raw).content[0] == block
    assert Sdks().stream("anthropic-messages", streamed(MESSAGES, block, Text("hi"))).state == ["c2lnbmVk"]
    body, _ = MESSAGES.encode_request(
        request(user("a"), assistant(block, "b"), user("c")), target("anthropic-messages")
    )
    assert body["messages"][1]["content"][0]["signature"] == "c2lnbmVk"


def test_08_a_signature_that_comes_after_the_text_began_is_dropped() -> None:
    """Chat vendors send it with the last delta; it is still part of the answer, and goes back to its vendor."""
    details = [{"type": "reasoning.text", "text": "hm", "index": 0}]
    late = [{"type": "reasoning.text", "signature": "c2ln", "index": 0}]
    deltas = [{"reasoning_details": details}, {"content": "hi"}, {"reasoning_details": late}]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    answer = decoded(CHAT, sse(*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    body, losses = CHAT.encode_request(
        request(user("a"), Message("assistant", answer.content), user("b")), target("openai-chat")
    )
    sent = next(m for m in body["messages"] if m["role"] == "assistant")
    assert sent["reasoning_details"] == [{"type": "reasoning.text", "text": "hm", "signature": "c2ln", "index": 0}]
    assert losses == []


def test_09_signatures_of_a_new_model_are_stripped_without_a_word() -> None:
    """Whose a signature is, is the vendor's to judge: no list of models decides what passes."""
    body = {**ASKED, "model": "claude-of-2031"}
    for name in ("claude-of-2031", "claude-of-2032"):
        assert MESSAGES.rewrite(body, target("anthropic-messages"))["messages"] == HISTORY, name


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.parametrize("middle", [Text("well"), ToolCall("c1", "f", '{"a":1}')], ids=["text", "call"])
def test_10_content_block_is_not_a_thinking_block(client: str, middle: Any) -> None:
    """A second stretch of reasoning in one answer has a block of its own."""
    raw = streamed(
        WIRES[client], Thinking("one", origin="openai-chat"), middle, Thinking("two", origin="openai-chat"), Text("end")
    )
    read = Sdks().stream(client, raw)
    assert "".join(read.reasoning.split()) == "onetwo"
    assert read.text.endswith("end")
    assert len(read.calls) == isinstance(middle, ToolCall)


def test_11_contradictory_reasoning_flags_are_refused() -> None:
    """At most one word says how much to think, and none says both yes and no."""
    asked = [Reasoning(enabled, effort, budget) for enabled, effort, budget in itertools.product(
        (None, True, False), ("", "none", "low", "max"), (0, 2000)) if not (enabled and effort == "none")]  # fmt: skip
    rows = [
        Quirks(reasoning_param=param, efforts=efforts)  # type: ignore[arg-type]
        for param in ("reasoning_effort", "thinking", "reasoning", "none")
        for efforts in ((), ("low", "high"), ("none", "low"))
    ]
    for reasoning, quirks in itertools.product(asked, rows):
        body, _ = CHAT.encode_request(request(user("x"), reasoning=reasoning), target("openai-chat", quirks=quirks))
        off = body.get("thinking", {}).get("type") == "disabled" or body.get("reasoning", {}).get("enabled") is False
        words = [word for word in (body.get("reasoning_effort"), body.get("reasoning", {}).get("effort")) if word]
        assert len(words) <= 1, (reasoning, quirks)
        assert not (off and words and words != ["none"]), (reasoning, body)


def test_12_unsigned_blocks_flow_to_the_vendor_once_memory_is_gone() -> None:
    """Nothing about earlier answers is remembered: the request itself tells what is whose."""
    foreign = MESSAGES.encode_response(
        LLMResponse("a", "m", (Thinking("theirs", "enc", origin="openai-responses"), Text("hi")), "end_turn"), model="m"
    )["content"]
    body = {**ASKED, "messages": [HISTORY[0], {"role": "assistant", "content": foreign}, *HISTORY]}
    body["messages"] = [HISTORY[0], {"role": "assistant", "content": foreign}, HISTORY[0]]
    sent = MESSAGES.rewrite(body, target("anthropic-messages"))
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["text"]


@pytest.mark.parametrize("origin", NAMES)
def test_13_one_vendors_signature_is_sent_to_another(origin: str) -> None:
    """Sealed state stands in no request to a vendor of another protocol, and its absence is named."""
    sealed = Thinking("hm", "U0VBTEVE", origin=origin, id="rs_1")
    for wire in NAMES:
        if wire != origin:
            body, losses = WIRES[wire].encode_request(
                request(user("a"), assistant(sealed, "b"), user("c"), protocol=origin), target(wire)
            )
            assert b"U0VBTEVE" not in orjson.dumps(body), wire
            assert losses == ["thinking.signature"], wire


def test_14_encrypted_content_for_an_item_could_not_be_verified() -> None:
    """Items keep their own ids and state, and what another vendor keeps is a hard loss, so nobody else is asked."""
    item = {"type": "reasoning", "id": "rs_0a", "summary": [], "encrypted_content": "eA=="}
    said = {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "b"}]}
    body = {"model": "old", "input": [{"role": "user", "content": "a"}, item, said, {"role": "user", "content": "c"}]}
    assert RESPONSES.rewrite(body, target("openai-responses"))["input"] == body["input"]
    kept = RESPONSES.survey({**body, "previous_response_id": "resp_1"}).requires
    assert all(severity(code) == "hard" for code in lost(kept & {"previous_response"}, "openai-chat"))
    assert "previous_response" in lost(kept, "openai-chat") & lost(kept, "anthropic-messages")


def _thinking_stream(*deltas: dict[str, Any], text: str = "I think.") -> bytes:
    pieces: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": text}] if text else []
    return sse(
        {"type": "message_start", "message": {"id": "m", "model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in (*pieces, *deltas)),
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    )  # fmt: skip
