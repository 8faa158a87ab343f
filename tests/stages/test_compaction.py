"""A Responses client asks for its conversation in short: it gets one compaction item from every vendor, and every vendor
can go on from it, but for what a vendor has sealed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest

from engine.llm.returning import Makers
from tests.emulator import Emulator, Script, Turn
from tests.judge import frames, gpt
from tests.spine import CLASSES, PROTOCOLS, Answer, Behind, Spine, policy, spine

RESPONSES = "openai-responses"
SUMMARY = "The user wants “green”. Done: /tmp/notes.txt. Next: tests."
CALM = {"quirks": {"sampling": False, "prefill": False, "thinking": "adaptive"}, "reasoning": True}
ROWS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "claude": ("anthropic-messages", "claude-opus-5-5", CALM),
    "chat": ("openai-chat", "gpt-4o", {}),
    "plain": (RESPONSES, "gpt-5.5", {"quirks": {"sampling": False}, "reasoning": True}),
    "gpt": (RESPONSES, "gpt-5.6-sol", {"quirks": {"sampling": False, "compaction": True}, "reasoning": True}),
    "azure": (RESPONSES, "gpt-5", {"quirks": {"sampling": False, "compaction": True}, "reasoning": True}),
}
"""Vendors: wire, model, what the model's row says. `gpt` and `azure` make compaction items of their own."""
WORDS = ("claude", "chat", "plain")
TOOL = {"type": "function", "name": "look", "description": "Reads.", "parameters": {"type": "object", "properties": {}}}
HISTORY: list[dict[str, Any]] = [
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are an agent."}]},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Make it green."}]},
    {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "title: notes"},
]
TRIGGER = {"type": "compaction_trigger"}


def asked(name: str, items: list[dict[str, Any]], *, stream: bool = False) -> dict[str, Any]:
    """What Codex sends, in small."""
    more = {"stream": True} if stream else {}
    base = {"model": ROWS[name][1], "tools": [TOOL], "tool_choice": "auto", "store": False, "input": items}
    return {**base, "include": ["reasoning.encrypted_content"], **more}


@asynccontextmanager
async def vendors(said: str = SUMMARY, **sections: Any) -> AsyncIterator[tuple[Spine, dict[str, Emulator]]]:
    """A gateway before all vendors; a request's model says which."""
    async with AsyncExitStack() as stack:
        emulators = {name: await stack.enter_async_context(Emulator(Script((Turn(said),)))) for name in ROWS}
        behind = [Behind(name, emulators[name].url, (wire,)) for name, (wire, _, _) in ROWS.items()]
        document = orjson.loads(policy(*behind, **sections))
        models = document.pop("models")
        document["models"] = {f"{n}/{model}": {**models[f"{n}/m"], **row} for n, (_, model, row) in ROWS.items()}
        document["routes"] = {name: ["requested"] for name in CLASSES}
        env = {f"{name.upper()}_KEY": emulators[name].key for name in ROWS}
        yield await stack.enter_async_context(spine(orjson.dumps(document).decode(), env=env)), emulators


def items(answer: Answer) -> list[dict[str, Any]]:
    """The items that Codex would take: those that `response.output_item.done` tells, else the output."""
    if not answer.streamed:
        return list(answer.json["output"])
    events = [orjson.loads(data) for _, data in frames(answer.body)]
    assert events[-1]["type"] == "response.completed"
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]
    return done


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("given", ["items", "text"])
async def test_the_path_for_it(name: str, given: str) -> None:
    """Asked for by the path, as SDKs do: what the user said and the one item, from which any vendor of words goes on."""
    async with vendors() as (gate, emulators):
        asked_for = {"model": ROWS[name][1], "input": HISTORY if given == "items" else "Make it green."}
        answer = await gate.ask(RESPONSES, asked_for, path="/v1/responses/compact")
        assert answer.status == 200, answer.body
        sdk = gpt(answer).responses.compact(**asked_for)
        event = await gate.event(answer.headers["x-sbgw-event"])
        said, item = sdk.output
        assert (sdk.object, said.content[0].text, item.type) == ("response.compaction", "Make it green.", "compaction")
        assert sdk.usage.total_tokens > 0
        assert (event["status"], event["attempts"][-1]["provider"]) == ("success", name)
        history = [*answer.json["output"], {"type": "message", "role": "user", "content": "Go on."}]
        after = await gate.ask(RESPONSES, asked(name, history))
        assert after.status == 200, after.body
        assert emulators[name].refused == []
        if name in WORDS:
            assert SUMMARY in orjson.dumps(emulators[name].requests[-1].body).decode()


@pytest.mark.parametrize("sent", [b"{", b"[]", b'{"model":"gpt-4o","input":7}', b'{"input":"x"}'])
async def test_what_is_no_request_for_it_is_the_callers_error(sent: bytes) -> None:
    """In the protocol's own words, with nobody asked."""
    async with vendors() as (gate, emulators):
        answer = await gate.send("POST", "/v1/responses/compact", sent, protocol=RESPONSES)
        assert answer.status == 400
        assert answer.json["error"]["message"]
        assert not any(emulator.requests for emulator in emulators.values())


async def compact(gate: Spine, name: str, *, stream: bool = False) -> tuple[Answer, dict[str, Any]]:
    """The answer to a trigger, and its item, which is the only one."""
    answer = await gate.ask(RESPONSES, asked(name, [*HISTORY, TRIGGER], stream=stream), stream=stream)
    assert answer.status == 200, answer.body
    (item,) = items(answer)
    assert item["type"] == "compaction"
    assert isinstance(item["encrypted_content"], str)
    return answer, item


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", WORDS)
async def test_a_trigger_becomes_one_compaction_item(name: str, stream: bool) -> None:
    """The model writes a summary in words, with its tools shown and none to call; the client gets it as the one item."""
    async with vendors() as (gate, emulators):
        answer, item = await compact(gate, name, stream=stream)
        assert "compaction.summary" in answer.headers["x-sbgw-loss"]
        assert gate.gateway.services.seals.envelopes.summary(item["encrypted_content"]) == SUMMARY
        (sent,) = emulators[name].requests
        assert b'"compaction' not in sent.raw
        body = orjson.loads(sent.raw)
        assert body["tools"]
        assert body["tool_choice"] in ("none", {"type": "none"})
        assert b"Write that summary now" in sent.raw
        assert (emulators[name].refused, emulators[name].surprises) == ([], [])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("maker", WORDS)
@pytest.mark.parametrize("name", [*ROWS])
async def test_every_vendor_goes_on_from_a_summary(maker: str, name: str, stream: bool) -> None:
    """It is opened and said as the user's text, whoever wrote it; no vendor sees the envelope, nothing counts as lost."""
    async with vendors() as (gate, emulators):
        _, item = await compact(gate, maker)
        before = len(emulators[name].requests)
        later = [HISTORY[0], item, {"type": "message", "role": "user", "content": "go on"}]
        answer = await gate.ask(RESPONSES, asked(name, later, stream=stream), stream=stream)
        assert answer.status == 200, answer.body
        assert "compaction" not in answer.headers.get("x-sbgw-loss", "")
        sent = emulators[name].requests[before]
        assert SUMMARY in orjson.dumps(orjson.loads(sent.raw)).decode()
        assert b"sbgw1." not in sent.raw
        assert b'"compaction"' not in sent.raw
        assert [e.refused for e in emulators.values()] == [[]] * len(ROWS)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_vendor_that_compacts_itself_is_left_to_it(stream: bool) -> None:
    """Its trigger and its item pass as they are, both ways."""
    async with vendors() as (gate, emulators):
        answer, item = await compact(gate, "gpt", stream=stream)
        assert "x-sbgw-loss" not in answer.headers
        assert b'{"type":"compaction_trigger"}' in emulators["gpt"].requests[0].raw
        later = [HISTORY[0], item, HISTORY[1]]
        assert (await gate.ask(RESPONSES, asked("gpt", later))).status == 200
        assert orjson.loads(emulators["gpt"].requests[1].raw)["input"] == later
        assert emulators["gpt"].refused == []


@pytest.mark.parametrize("name", ["azure", "plain", "claude", "chat"])
async def test_a_sealed_item_goes_to_nobody_but_its_maker(name: str) -> None:
    """On the same protocol or another one it stands for all that was said: refused before anything is sent, by its code."""
    async with vendors() as (gate, emulators):
        _, item = await compact(gate, "gpt")
        refused = await gate.ask(RESPONSES, asked(name, [HISTORY[0], item, HISTORY[1]]))
        assert refused.status == 400
        assert "compaction" in refused.json["error"]["message"]
        assert emulators[name].requests == []
        assert (await gate.ask(RESPONSES, asked("gpt", [HISTORY[0], item, HISTORY[1]]))).status == 200


@pytest.mark.parametrize("name", ["azure", "plain", "claude", "chat"])
async def test_a_policy_may_let_a_sealed_item_go(name: str) -> None:
    """Then it is left out, and declared."""
    async with vendors(gate={"allow_losses": ["compaction"]}) as (gate, emulators):
        _, item = await compact(gate, "gpt")
        answer = await gate.ask(RESPONSES, asked(name, [HISTORY[0], item, HISTORY[1]]))
        assert answer.status == 200, answer.body
        assert "compaction" in answer.headers["x-sbgw-loss"].replace(" ", "").split(",")
        assert b"encrypted_content" not in emulators[name].requests[0].raw.replace(b"reasoning.encrypted_content", b"")


async def test_a_forgotten_maker_is_believed_to_be_the_target() -> None:
    """After a restart a bare item goes where the request goes, as without a gateway; a vendor's refusal passes on."""
    async with vendors() as (gate, emulators):
        _, item = await compact(gate, "gpt")
        gate.gateway.services.seals.makers = Makers()
        assert (await gate.ask(RESPONSES, asked("gpt", [HISTORY[0], item, HISTORY[1]]))).status == 200
        gate.gateway.services.seals.makers = Makers()
        refused = await gate.ask(RESPONSES, asked("azure", [HISTORY[0], item, HISTORY[1]]))
        assert refused.status == 400
        assert "could not be verified" in refused.json["error"]["message"]
        assert all(b'"compaction"' in request.raw for request in emulators["azure"].requests)


async def test_an_envelope_of_another_gateway_is_refused() -> None:
    """What looks like ours and does not open is nobody's."""
    async with vendors() as (gate, emulators):
        _, item = await compact(gate, "claude")
        forged = item | {"encrypted_content": item["encrypted_content"][:-1] + "x"}
        for name in ROWS:
            answer = await gate.ask(RESPONSES, asked(name, [HISTORY[0], forged, HISTORY[1]]))
            assert (name, answer.status) == (name, 400)
        assert sum(len(e.requests) for e in emulators.values()) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_writes_no_summary_is_no_answer(stream: bool) -> None:
    """An empty answer is a failure, not an empty memory."""
    async with vendors(" ") as (gate, _):
        answer = await gate.ask(RESPONSES, asked("chat", [*HISTORY, TRIGGER], stream=stream), stream=stream)
        assert answer.status >= 500
        assert "compaction" not in answer.body.decode().replace("compaction.summary", "")


@pytest.mark.parametrize("name", [n for n in ROWS if n != "claude"])
async def test_a_readable_compaction_of_messages_is_said_as_text(name: str) -> None:
    """What stands before the block is left out, as its own provider would; what it says goes on."""
    told = [
        {"role": "user", "content": "Secret of the first turn."},
        {
            "role": "assistant",
            "content": [{"type": "compaction", "content": SUMMARY}, {"type": "text", "text": "Go on?"}],
        },
        {"role": "user", "content": "Yes."},
    ]
    async with vendors() as (gate, emulators):
        body = {"model": ROWS[name][1], "max_tokens": 500, "messages": told}
        answer = await gate.ask("anthropic-messages", body)
        assert answer.status == 200, answer.body
        (sent,) = emulators[name].requests
        assert SUMMARY in orjson.dumps(orjson.loads(sent.raw)).decode()
        assert b"Secret of the first turn." not in sent.raw
        assert "Go on?" in sent.raw.decode()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_summaries_pass_only_as_compactions(protocol: str) -> None:
    """Nobody's reasoning is made of a summary: in its place it is an envelope that holds none."""
    async with vendors() as (gate, emulators):
        seals = gate.gateway.services.seals
        _, item = await compact(gate, "claude")
        assert seals.envelopes.open(item["encrypted_content"]) is not None
        assert seals.made_by([item["encrypted_content"]]) == ["claude/claude-opus-5-5"]
        reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": item["encrypted_content"]}
        said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]}
        target = {"anthropic-messages": "claude", "openai-chat": "chat", RESPONSES: "plain"}[protocol]
        answer = await gate.ask(RESPONSES, asked(target, [*HISTORY[:2], reasoning, said, HISTORY[1]]))
        assert answer.status == 200, answer.body
        assert SUMMARY.encode() not in emulators[target].requests[-1].raw
