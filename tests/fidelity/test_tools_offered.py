"""Tools as Codex, Claude Code and others offer them, through providers that know less: what is shown, called and given back."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.losses import severity
from engine.llm.messages import Block, ToolCall
from engine.llm.stream import BlockStop, Failure, Finish
from engine.protocols.registry import PROTOCOLS as CODECS
from engine.protocols.sse import SSEParser
from tests.fidelity.clients import Sdks
from tests.fidelity.requests import check, target
from tests.fidelity.tool_answers import Case, chat, played, some, stop, text_of, use
from tests.spine import PROTOCOLS, Behind, Call, Wire, policy, spine

MESSAGES, RESPONSES, CHATS = "anthropic-messages", "openai-responses", "openai-chat"
PATCH = '*** Begin Patch\n*** Update File: a.py\n-x = "é 😀 \\d"\n+x = \'\\\\n\'\t{"input":"}"}\n*** End Patch'
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"}


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": SCHEMA, **more}


def group(name: str, *members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "namespace", "name": name, "description": "d", "tools": list(members)}


CODEX = [
    function("f"),
    {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": GRAMMAR},
    group("team", function("spawn"), {"type": "custom", "name": "note", "description": "d"}),
    {"type": "web_search", "external_web_access": True},
]


def codex(*tools: dict[str, Any], items: tuple[dict[str, Any], ...] = (), **more: Any) -> dict[str, Any]:
    spoken = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]}
    return {"model": "m", "input": [spoken, *items], "tools": list(tools), **more}


def encoded(body: dict[str, Any], client: str, wire: str) -> tuple[dict[str, Any], list[str]]:
    """What a provider of `wire` is sent, which a strict server takes, and the losses."""
    sent, losses = CODECS[wire].encode_request(CODECS[client].decode_request(body), target(wire))
    check(sent, wire)
    assert set(losses) <= CODECS[client].survey(body).requires
    return sent, losses


def names(sent: dict[str, Any]) -> list[str]:
    return [tool.get("name") or tool["function"]["name"] for tool in sent.get("tools", ())]


# ── Codex: custom tools and namespaces, answered by providers of functions ──


def answer(wire: str, calls: list[tuple[str, Any]], size: int) -> Case:
    """An answer of `wire` that calls functions, arguments in pieces of `size` characters; 0: not streamed."""
    told: list[Any] = []
    for number, (name, arguments) in enumerate(calls):
        text = text_of(arguments)
        pieces = [text[at : at + size] for at in range(0, len(text), size)] if size else []
        if wire == CHATS:
            first = chat(number, f"c{number}", name, "" if size else text)
            told += [[first], *([chat(number, arguments=piece)] for piece in pieces)] if size else [first]
        elif size:
            told += [use(number, f"c{number}", name), *(some(number, piece) for piece in pieces), stop(number)]
        else:
            told.append(use(number, f"c{number}", name, arguments)["content_block"])
    return Case("calls", told, None, streamed=bool(size))


@pytest.mark.parametrize("size", [0, 1, 2, 5, 1000])
@pytest.mark.parametrize("wire", [CHATS, MESSAGES])
async def test_codex_gets_its_own_kinds_of_calls_back(wire: str, size: int) -> None:
    """A custom tool's text, unwrapped however its escapes are cut; a namespace's function and custom tool; parallel."""
    calls: list[tuple[str, Any]] = [
        ("apply_patch", {"input": PATCH}),
        ("team__spawn", {"a": 1}),
        ("team__note", {"input": "n"}),
    ]
    data, kind = played(wire, answer(wire, calls, size))

    async def play(call: Call) -> None:
        await call.open(kind)
        await call.write(data)

    async with Wire(play) as provider:
        text = policy(Behind("first", provider.url, (wire,)), fallback={"attempts": 1})
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            got = await gate.ask(RESPONSES, codex(*CODEX, stream=bool(size)))
        sent = orjson.loads(provider.calls[0].body)
    read = Sdks().stream(RESPONSES, got.body) if size else Sdks().whole(RESPONSES, got.json)
    assert [(c.name, c.namespace, c.kind, c.arguments) for c in read.calls] == [
        ("apply_patch", "", "custom", PATCH), ("spawn", "team", "function", {"a": 1}), ("note", "team", "custom", "n"),
    ]  # fmt: skip
    assert names(sent) == ["f", "apply_patch", "team__spawn", "team__note"]
    offered = next(tool for tool in sent["tools"] if "apply_patch" in text_of(tool)[:200])
    assert "start: begin_patch" in text_of(offered)
    if size == 1:  # it grows, piece by piece
        assert got.body.count(b"event: response.custom_tool_call_input.delta") > len(PATCH) - 10


@pytest.mark.parametrize("wire", [CHATS, MESSAGES])
def test_codexs_calls_go_back_as_they_were_made(wire: str) -> None:
    """The history of custom and namespaced calls, with their results, as functions of the same names that are offered."""
    items = (
        {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": PATCH},
        {"type": "function_call", "call_id": "c2", "name": "spawn", "namespace": "team", "arguments": '{"a":1}'},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "spawned"}]},
    )
    sent, losses = encoded(codex(*CODEX, items=items), RESPONSES, wire)
    said = text_of(sent["messages"])
    assert said.count('"team__spawn"') == 1
    if wire == CHATS:
        made = sent["messages"][1]["tool_calls"]
        assert [orjson.loads(call["function"]["arguments"]) for call in made] == [{"input": PATCH}, {"a": 1}]
        assert [m["content"] for m in sent["messages"][2:]] == ["done", "spawned"]
    else:
        assert [block["input"] for block in sent["messages"][1]["content"]] == [{"input": PATCH}, {"a": 1}]
    assert losses == ["namespace", "web_search"]


def made(content: tuple[Block, ...]) -> list[ToolCall]:
    """The calls of an answer."""
    return [block for block in content if isinstance(block, ToolCall)]


PARTS = st.text("ab_", min_size=1, max_size=3) | st.sampled_from(["x" * 64, "x" * 70, "a__b", "é", "a.b", "a b", "f"])
MEMBERS = st.lists(st.builds(function, PARTS), min_size=1, max_size=4, unique_by=lambda tool: tool["name"])
GROUPS = st.builds(lambda name, members: group(name, *members), PARTS, MEMBERS)
OFFERED = st.lists(
    st.one_of(st.builds(function, PARTS), st.builds(lambda name: {"type": "custom", "name": name}, PARTS), GROUPS),
    min_size=1, max_size=6, unique_by=lambda tool: tool["name"],
)  # fmt: skip


@pytest.mark.parametrize("wire", [CHATS, MESSAGES])
@given(OFFERED)
@settings(max_examples=200, deadline=None)
def test_any_names_go_out_unique_and_come_back(wire: str, offered: list[dict[str, Any]]) -> None:
    """Names too long, of a foreign alphabet, or that flattening would make equal: each tool is called under its own."""
    body = codex(*offered)
    sent, _ = encoded(body, RESPONSES, wire)
    shown = names(sent)
    assert len(set(shown)) == len(shown)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in shown)
    real = {tool["name"] for tool in offered if tool["type"] != "namespace"}
    own = {name for name in real if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)}
    assert own <= set(shown)
    request = CODECS[RESPONSES].decode_request(body)
    case = answer(wire, [(name, {"input": "x"}) for name in shown], 0)
    told = CODECS[wire].decode_response(orjson.loads(played(wire, case)[0]), quirks=Quirks(), request=request)
    wanted = [("", tool["name"], tool["type"]) for tool in offered if tool["type"] != "namespace"]
    wanted += [(g["name"], m["name"], m["type"]) for g in offered if g["type"] == "namespace" for m in g["tools"]]
    assert sorted((call.namespace, call.name, call.kind) for call in made(told.content)) == sorted(wanted)


def test_a_bare_name_of_two_namespaces_means_neither() -> None:
    """A call that could be either's is nobody's: the check of answers, not chance, decides about it."""
    body = codex(group("one", function("read")), group("two", function("read"), function("stat")))
    request = CODECS[RESPONSES].decode_request(body)
    calls = [{"id": f"c{n}", "function": {"name": name, "arguments": "{}"}} for n, name in enumerate(("read", "stat"))]
    told = CODECS[CHATS].decode_response(
        {"choices": [{"message": {"tool_calls": calls}}]}, quirks=Quirks(), request=request
    )
    assert [(call.namespace, call.name) for call in made(told.content)] == [("", "read"), ("two", "stat")]


# ── tools offered twice, restricted, deferred, run by the provider ──


def test_a_tool_offered_twice_is_offered_once_where_that_is_asked() -> None:
    """Messages takes a name once; two different tools of one name are a loss that is named."""
    same = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    other = {"type": "function", "function": {"name": "f", "description": "another", "parameters": SCHEMA}}
    for tools, code in (([same, same], set()), ([same, other], {"tool.repeated"})):
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools}
        sent, losses = encoded(body, CHATS, MESSAGES)
        assert (names(sent), set(losses)) == (["f"], code)
        assert names(encoded(body, CHATS, RESPONSES)[0]) == ["f", "f"]


@pytest.mark.parametrize("wire", [MESSAGES, RESPONSES])
def test_allowed_tools_hold_on_every_wire(wire: str) -> None:
    """A choice among some of the tools leaves only those."""
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in "fgh"]
    listed = [{"type": "function", "function": {"name": name}} for name in "fh"]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": listed}}
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": choice}
    sent, _ = encoded(body, CHATS, wire)
    assert names(sent) == ["f", "h"]
    assert sent["tool_choice"] in ({"type": "any"}, "required")


def claude(*tools: dict[str, Any], said: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    messages = [{"role": "user", "content": "go"}, *(said or [])]
    return {"model": "m", "max_tokens": 100, "messages": messages, "tools": list(tools)}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": SCHEMA, **more}


SEARCHED = [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "ToolSearch", "input": {}}]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "tool_reference", "tool_name": "WebFetch"}]},
        {"type": "text", "text": "Tool loaded."},
    ]},
]  # fmt: skip


@pytest.mark.parametrize("wire", [CHATS, RESPONSES])
def test_deferred_tools_are_shown_once_a_reference_names_them(wire: str) -> None:
    """Claude Code's search is a tool of its own: what it has not found stays hidden, what it has found can be called."""
    offered = [tool("ToolSearch"), tool("WebFetch", defer_loading=True), tool("Other", defer_loading=True)]
    before, losses = encoded(claude(*offered), MESSAGES, wire)
    assert (names(before), losses) == (["ToolSearch"], ["tool_search"])
    after, _ = encoded(claude(*offered, said=SEARCHED), MESSAGES, wire)
    assert names(after) == ["ToolSearch", "WebFetch"]
    assert "WebFetch is now available" in text_of(after)


@pytest.mark.parametrize("wire", [CHATS, RESPONSES])
def test_deferred_tools_are_all_shown_where_a_provider_searched(wire: str) -> None:
    """The search is gone with its provider: a hidden tool could never be found again."""
    search = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    sent, losses = encoded(claude(search, tool("f"), tool("g", defer_loading=True)), MESSAGES, wire)
    assert (names(sent), losses) == (["f", "g"], ["tool_search"])


@pytest.mark.parametrize("wire", [CHATS, MESSAGES])
def test_codexs_deferred_namespace_members_are_all_shown(wire: str) -> None:
    """Its search runs at the provider, or needs a kind of call that no other wire has."""
    members = group("mcp", function("f", defer_loading=True), function("g", defer_loading=True))
    sent, losses = encoded(
        codex({"type": "tool_search", "execution": "client", "description": "d", "parameters": SCHEMA}, members),
        RESPONSES,
        wire,
    )
    assert names(sent) == ["mcp__f", "mcp__g"]
    assert losses == ["namespace", "tool_search"]


SERVED = {
    "server_tool_use": {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    "web_search_tool_result": {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    "mcp_tool_use": {"type": "mcp_tool_use", "id": "m1", "name": "f", "server_name": "s", "input": {}},
}


@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("wire", [CHATS, RESPONSES])
def test_a_servers_tools_in_the_history_are_a_hard_loss_and_no_call(wire: str, kind: str) -> None:
    """They are announced before anything is sent; no provider is told that the client called them."""
    said = [
        {"role": "assistant", "content": [SERVED[kind], {"type": "text", "text": "hm"}]},
        {"role": "user", "content": "on"},
    ]
    body = claude(tool("f"), said=said)
    sent, losses = encoded(body, MESSAGES, wire)
    assert losses == ["server_tool.result"]
    assert severity(losses[0]) == "hard"
    assert "tool_calls" not in text_of(sent)
    assert "function_call" not in text_of(sent)


# ── images and documents in results ──

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
    "title": "a.pdf",
}


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("wire", [CHATS, RESPONSES])
def test_media_of_parallel_results_are_told_apart(wire: str, error: bool) -> None:
    """Each image and document reaches the provider, in its result or behind the results with the name of its call."""
    made = [{"type": "tool_use", "id": f"t{n}", "name": "f", "input": {}} for n in (1, 2)]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [{"type": "text", "text": "one"}, PNG],
            "is_error": error,
        },
        {"type": "tool_result", "tool_use_id": "t2", "content": [PNG, PDF]},
    ]
    said = [{"role": "assistant", "content": made}, {"role": "user", "content": results}]
    sent, losses = encoded(claude(tool("f"), said=said), MESSAGES, wire)
    text = text_of(sent)
    assert (text.count("aGk="), text.count("JVBERi0=")) == (2, 1)
    if wire == CHATS:
        assert [m["role"] for m in sent["messages"]] == ["user", "assistant", "tool", "tool", "user"]
        assert [part["type"] for part in sent["messages"][-1]["content"]] == [
            "text",
            "image_url",
            "text",
            "image_url",
            "file",
        ]
        assert "image.tool_result" in losses
    else:
        assert [len(item["output"]) for item in sent["input"] if item["type"].endswith("_output")] == [2 + error, 2]
    assert ("tool_result.error" in losses) == error


# ── any stream at all ──

TEXTS = st.sampled_from(["", "{", '{"a":1}', "{}", '{"a"', ":1}", "null", " ", '"x"', "[1]", '{"input":"x\\'])
ENTRY = st.builds(
    chat,
    st.sampled_from([None, 0, 1, 0, "0", -1, [1], True, 1.5]),
    st.sampled_from([None, "", "a", "b", "a b", "call_b64_YSBi", "x" * 500, 3]),
    st.sampled_from([None, "f", "g", "apply_patch", "team__spawn", ""]),
    st.one_of(st.none(), TEXTS),
)


@pytest.mark.parametrize("client", PROTOCOLS)
@given(st.lists(st.lists(ENTRY, max_size=3), max_size=8))
@settings(max_examples=200, deadline=None)
def test_no_stream_gives_one_id_to_two_calls(client: str, deltas: list[list[Any]]) -> None:
    """Whatever entries a Chat stream holds: one end, calls with names and ids of their own, nothing raises."""
    raw, _ = played(CHATS, Case("any", deltas, None))
    request = CODECS[RESPONSES].decode_request(codex(*CODEX))
    decoder = CODECS[CHATS].stream_decoder(quirks=Quirks(), request=request)
    encoder = CODECS[client].stream_encoder(model="m", answer_id="x", request=request)
    events = [told for frame in SSEParser().feed(raw) for told in decoder.feed(frame)] + decoder.close()
    assert all(isinstance(encoder.feed(event), bytes) for event in events)
    assert sum(isinstance(event, Finish | Failure) for event in events) == 1
    ids = [e.block.id for e in events if isinstance(e, BlockStop) and isinstance(e.block, ToolCall) and e.block.name]
    assert len(set(ids)) == len(ids) == sum(isinstance(e, BlockStop) and isinstance(e.block, ToolCall) for e in events)
    assert all(ids)


@given(
    st.lists(st.tuples(st.sampled_from(["f", "g"]), st.sampled_from([{}, {"a": 1}, {"b": 'é"\\'}, {"c": {"d": []}}])), min_size=1, max_size=5),
    st.sampled_from(["index", "id", "both", "first of each"]),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_calls_that_can_be_told_apart_are(calls: list[tuple[str, Any]], by: str, size: int, rng: Any) -> None:
    """Fragments of parallel calls in any order are put together by whatever tells them apart: index, id, or place."""
    streams = []
    for number, (name, arguments) in enumerate(calls):
        index = number if by in ("index", "both") else None
        call_id = f"c{number}" if by in ("id", "both", "first of each") else None
        text = text_of(arguments)
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        later = call_id if by == "id" else None
        streams.append([[chat(index, call_id, name, "")], *([chat(index, later, None, piece)] for piece in pieces)])
    told: list[Any] = []
    while any(streams):
        ready = [s for s in streams if s] if by != "first of each" else [next(s for s in streams if s)]
        told.append(rng.choice(ready).pop(0))
    raw, _ = played(CHATS, Case("any", told, None))
    read = Sdks().stream(MESSAGES, through(raw))
    order = [name for delta in told if (name := delta[0].get("function", {}).get("name"))]
    assert [call.name for call in read.calls] == order
    assert sorted((c.name, text_of(c.arguments)) for c in read.calls) == sorted((n, text_of(a)) for n, a in calls)


def through(raw: bytes) -> bytes:
    """A Chat provider's stream as a Messages client gets it."""
    decoder = CODECS[CHATS].stream_decoder(quirks=Quirks())
    encoder = CODECS[MESSAGES].stream_encoder(model="m", answer_id="x")
    events = [told for frame in SSEParser().feed(raw) for told in decoder.feed(frame)] + decoder.close()
    return b"".join(encoder.feed(event) for event in events)
