"""Answers with tool calls as odd as vendors and bridges give them, by wire: what came, and the calls it means.

A streamed case is a list of events, a whole one the answer's calls in the wire's own words. Nothing here is read by code of
the gateway: `calls` says what an agent has to get, in order. None stands for an answer that no agent may get.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

F, G = ("f", {"a": 1}), ("g", {"b": 'é"\\\n😀'})
NOTHING: tuple[str, dict[str, Any]] = ("f", {})


@dataclass(frozen=True, slots=True)
class Case:
    """One answer: `told` is a list of deltas (Chat), events (Messages, Responses), or of calls when it is not streamed."""

    name: str
    told: list[Any]
    calls: list[tuple[str, Any]] | None
    streamed: bool = True


def text_of(value: Any) -> str:
    """JSON text."""
    return orjson.dumps(value).decode()


# ── Chat ──


def chat(
    index: Any = None, call_id: Any = None, name: Any = None, arguments: Any = None, **more: Any
) -> dict[str, Any]:
    """One entry of a delta's calls, without what is None."""
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not None}
    entry = {k: v for k, v in (("index", index), ("id", call_id)) if v is not None}
    return {**entry, **({"function": function} if function else {}), **more}


def both(*, ids: tuple[Any, Any] = ("c1", "c2"), at: tuple[Any, Any] = (0, 1)) -> list[list[dict[str, Any]]]:
    """The calls F and G, each whole in a delta of its own."""
    return [[chat(i, c, n, text_of(a))] for i, c, (n, a) in zip(at, ids, (F, G), strict=True)]


def together(**how: Any) -> list[list[dict[str, Any]]]:
    """Both calls in one delta."""
    one, other = both(**how)
    return [one + other]


def in_pieces(call: tuple[str, Any], index: Any, call_id: Any, size: int = 1) -> list[list[dict[str, Any]]]:
    """A call whose arguments come a few characters at a time."""
    text = text_of(call[1])
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return [[chat(index, call_id, call[0], "")], *([chat(index, arguments=piece)] for piece in pieces)]


def mixed(one: list[Any], other: list[Any]) -> list[Any]:
    """Two lists, an entry of each in turn."""
    longest = max(len(one), len(other))
    return [entry for at in range(longest) for source in (one, other) for entry in source[at : at + 1]]


CHAT = [
    Case("whole", both(), [F, G]),
    Case("together in one delta", together(), [F, G]),
    Case("fragmented", in_pieces(F, 0, "c1") + in_pieces(G, 1, "c2"), [F, G]),
    Case("fragmented in turns", mixed(in_pieces(F, 0, "c1"), in_pieces(G, 1, "c2", 2)), [F, G]),
    Case("without index", both(at=(None, None)), [F, G]),
    Case("without index or id", both(at=(None, None), ids=(None, None)), [F, G]),
    Case("without index or id in one delta", together(at=(None, None), ids=(None, None)), [F, G]),
    Case("fragmented without index", in_pieces(F, None, "c1") + in_pieces(G, None, "c2"), [F, G]),
    Case("all index 0", both(at=(0, 0)), [F, G]),
    Case("all index 0, no ids", both(at=(0, 0), ids=(None, None)), [F, G]),
    Case("all index 0, fragmented", in_pieces(F, 0, "c1") + in_pieces(G, 0, "c2"), [F, G]),
    Case("indexes from one", both(at=(1, 2)), [F, G]),
    Case("indexes with gaps, backwards", both(at=(7, 3)), [F, G]),
    Case("indexes that are text", both(at=("0", "1")), [F, G]),
    Case("indexes that are no indexes", both(at=(None, [1])), [F, G]),
    Case("one id twice", both(ids=("c", "c")), [F, G]),
    Case("one id twice, no index", both(ids=("c", "c"), at=(None, None)), [F, G]),
    Case("one id twice, no index, one delta", together(ids=("c", "c"), at=(None, None)), [F, G]),
    Case("one id and one name twice", [[chat(0, "c", "f", '{"a":1}')], [chat(1, "c", "f", '{"a":2}')]], [F, ("f", {"a": 2})]),
    Case("one id, index and name twice", [[chat(0, "c", "f", '{"a":1}')], [chat(0, "c", "f", '{"a":2}')]], [F, ("f", {"a": 2})]),
    Case("ids empty", both(ids=("", "")), [F, G]),
    Case("ids null", [[chat(0, name="f", arguments='{"a":1}', id=None)]], [F]),
    Case("ids that are numbers", [[chat(0, 7, "f", '{"a":1}')]], [F]),
    Case("ids of a foreign alphabet", both(ids=("functions.f:0", "日本 語")), [F, G]),
    Case("ids too long", both(ids=("x" * 500, "x" * 500 + "y")), [F, G]),
    Case("an id that looks like one of ours", both(ids=("call_b64_YSBi", "a b")), [F, G]),
    Case("name and id repeated", [[chat(0, "c", "f", '{"a"')], [chat(0, "c", "f", ":1}")]], [F]),
    Case("name and id repeated, empty", [[chat(0, "c", "f", '{"a"')], [chat(0, "", "", ":1}")]], [F]),
    Case("the whole call said again at the end", [*in_pieces(F, 0, "c"), [chat(0, "c", "f", '{"a":1}')]], [F]),
    Case("name first, id later", [[chat(0, None, "f", "")], [chat(0, "c", None, '{"a":1}')]], [F]),
    Case("no arguments", [[chat(0, "c", "f")]], [NOTHING]),
    Case("empty arguments", [[chat(0, "c", "f", "")]], [NOTHING]),
    Case("white space for arguments", [[chat(0, "c", "f", " \n")]], [NOTHING]),
    Case("null arguments", [[chat(0, "c", "f", arguments=None)], [{"index": 0, "function": {"arguments": None}}]], [NOTHING]),
    Case("two empty ones in one delta", [[chat(None, None, "f", ""), chat(None, None, "f", "")]], [NOTHING, NOTHING]),
    Case("two empty ones of one index", [[chat(0, None, "f", ""), chat(0, None, "f", "")]], [NOTHING, NOTHING]),
    Case("arguments as an object", [[chat(0, "c", "f", {"a": 1})]], [F]),
    Case("the old function_call", [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": '{"a":1}'}}], [F]),
    Case("without a type or function", [[chat(0, "c", "f", '{"a":1}')], [{"index": 0}]], [F]),
    Case("no name at all", [[chat(0, "c", None, '{"a":1}')]], None),
    *(
        Case(f"whole: {name}", told, calls, streamed=False)
        for name, told, calls in [
            ("two", [chat(None, "c1", "f", '{"a":1}'), chat(None, "c2", "g", text_of(G[1]))], [F, G]),
            ("no ids", [chat(None, None, "f", '{"a":1}'), chat(None, None, "g", text_of(G[1]))], [F, G]),
            ("one id twice", [chat(None, "c", "f", '{"a":1}'), chat(None, "c", "g", text_of(G[1]))], [F, G]),
            ("odd ids", [chat(None, "a b", "f", '{"a":1}'), chat(None, "call_b64_YSBi", "g", text_of(G[1]))], [F, G]),
            ("no arguments", [chat(None, "c", "f")], [NOTHING]),
            ("an object", [chat(None, "c", "f", {"a": 1})], [F]),
            ("no name", [chat(None, "c", None, "{}")], None),
        ]
    ),
]  # fmt: skip


# ── Messages ──


def use(index: Any, call_id: Any, name: Any = "f", given: Any = None) -> dict[str, Any]:
    """The start of a call."""
    block = {"type": "tool_use", "id": call_id, "name": name, "input": {} if given is None else given}
    return {
        "type": "content_block_start",
        "index": index,
        "content_block": {k: v for k, v in block.items() if v is not None},
    }


def some(index: Any, piece: str) -> dict[str, Any]:
    """A piece of a call's arguments."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": piece}}


def stop(index: Any) -> dict[str, Any]:
    """The end of a block."""
    return {"type": "content_block_stop", "index": index}


def used(index: Any, call_id: Any, call: tuple[str, Any], size: int = 1000) -> list[dict[str, Any]]:
    """A call from its start to its end."""
    text = text_of(call[1])
    return [
        use(index, call_id, call[0]),
        *(some(index, text[at : at + size]) for at in range(0, len(text), size)),
        stop(index),
    ]


def unended(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events without the ends of blocks."""
    return [event for event in events if event["type"] != "content_block_stop"]


def at(index: Any, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events with another index; None leaves it out."""
    return [
        {**{k: v for k, v in e.items() if k != "index"}, **({} if index is None else {"index": index})} for e in events
    ]


SERVER = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result", "title": "t", "url": "https://example.org", "encrypted_content": "x"}]}  # fmt: skip
TEXT = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hm"}},
    stop(0),
]

MESSAGES = [
    Case("whole", used(0, "c1", F) + used(1, "c2", G), [F, G]),
    Case("fragmented", used(0, "c1", F, 1) + used(1, "c2", G, 1), [F, G]),
    Case("in turns", mixed(used(0, "c1", F, 1), used(1, "c2", G, 1)), [F, G]),
    Case("in turns, text before", TEXT + mixed(used(1, "c1", F, 2), used(2, "c2", G, 3)), [F, G]),
    Case("in turns without ends", unended(mixed(used(0, "c1", F, 1), used(1, "c2", G, 1))), [F, G]),
    Case("without ends", unended(used(0, "c1", F) + used(1, "c2", G)), [F, G]),
    Case("all index 0", used(0, "c1", F) + used(0, "c2", G), [F, G]),
    Case("all index 0 without ends", unended(used(0, "c1", F) + used(0, "c2", G)), [F, G]),
    Case("without index", at(None, used(0, "c1", F) + used(0, "c2", G)), [F, G]),
    Case("indexes backwards", used(5, "c1", F) + used(2, "c2", G), [F, G]),
    Case("arguments of another index than the call", [use(0, "c"), some(3, '{"a":1}'), stop(0)], [F]),
    Case("one id twice", used(0, "c", F) + used(1, "c", G), [F, G]),
    Case("ids empty", used(0, "", F) + used(1, "", G), [F, G]),
    Case("without ids", used(0, None, F) + used(1, None, G), [F, G]),
    Case("odd ids", used(0, "a b", F) + used(1, "call_b64_YSBi", G), [F, G]),
    Case("ids too long", used(0, "x" * 500, F) + used(1, "x" * 501, G), [F, G]),
    Case("arguments in the start", [use(0, "c", "f", {"a": 1}), stop(0)], [F]),
    Case("arguments in the start, and an empty piece", [use(0, "c", "f", {"a": 1}), some(0, ""), stop(0)], [F]),
    Case("no arguments", [use(0, "c"), some(0, ""), stop(0)], [NOTHING]),
    Case("two without arguments", [use(0, "c1"), stop(0), use(1, "c2"), stop(1)], [NOTHING, NOTHING]),
    Case("two without arguments or ends", [use(0, "c1"), use(1, "c2")], [NOTHING, NOTHING]),
    Case("a server's tool before", [
        {"type": "content_block_start", "index": 0, "content_block": SERVER}, some(0, '{"query":"x"}'), stop(0),
        {"type": "content_block_start", "index": 1, "content_block": FOUND}, stop(1), *used(2, "c", F)], [F]),
    Case("a server's tool alone", [
        {"type": "content_block_start", "index": 0, "content_block": SERVER}, some(0, '{"query":"x"}'), stop(0),
        {"type": "content_block_start", "index": 1, "content_block": FOUND}, stop(1), *at(2, TEXT)], []),
    Case("another's tool server", [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "mcp_tool_use", "id": "m", "name": "f", "server_name": "s", "input": {}}},
        some(0, '{"a":1}'), stop(0), *at(1, TEXT)], []),
    Case("no name at all", [use(0, "c", None), some(0, '{"a":1}'), stop(0)], None),
    Case("arguments of no call", [*TEXT, some(1, '{"a":1}')], None),
    *(
        Case(f"whole: {name}", told, calls, streamed=False)
        for name, told, calls in [
            ("two", [use(0, "c1", *F)["content_block"], use(0, "c2", *G)["content_block"]], [F, G]),
            ("no ids", [use(0, None, *F)["content_block"], use(0, "", *G)["content_block"]], [F, G]),
            ("one id twice", [use(0, "c", *F)["content_block"], use(0, "c", *G)["content_block"]], [F, G]),
            ("no arguments", [{"type": "tool_use", "id": "c", "name": "f"}], [NOTHING]),
            ("arguments as text", [use(0, "c", "f", '{"a":1}')["content_block"]], [F]),
            ("a server's tool", [SERVER, FOUND, {"type": "text", "text": "hm"}], []),
            ("no name", [use(0, "c", None)["content_block"]], None),
        ]
    ),
]  # fmt: skip


# ── Responses ──


def item(call_id: Any, call: tuple[str, Any], item_id: Any = None, **more: Any) -> dict[str, Any]:
    """A call's item, without what is None."""
    held = {
        "type": "function_call",
        "id": item_id,
        "call_id": call_id,
        "name": call[0],
        "arguments": text_of(call[1]),
        **more,
    }
    return {k: v for k, v in held.items() if v is not None}


def item_events(index: Any, held: dict[str, Any], *, size: int = 1000, by_id: bool = True) -> list[dict[str, Any]]:
    """An item from its announcement to its end."""
    place = {} if index is None else {"output_index": index}
    about = {**place, **({"item_id": held["id"]} if by_id and "id" in held else {})}
    text = held.get("arguments", "")
    kind = "response.function_call_arguments"
    return [
        {"type": "response.output_item.added", **place, "item": {**held, "arguments": ""}},
        *({"type": f"{kind}.delta", **about, "delta": text[at : at + size]} for at in range(0, len(text), size)),
        {"type": f"{kind}.done", **about, "arguments": text},
        {"type": "response.output_item.done", **place, "item": held},
    ]


def ended(*output: Any) -> dict[str, Any]:
    """The last event, with these items in the whole answer."""
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return {
        "type": "response.completed",
        "response": {"id": "resp_1", "model": "m", "status": "completed", "output": list(output), "usage": usage},
    }


ONE, TWO = item("c1", F, "fc_1"), item("c2", G, "fc_2")
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}

RESPONSES = [
    Case("whole", item_events(0, ONE) + item_events(1, TWO), [F, G]),
    Case("fragmented", item_events(0, ONE, size=1) + item_events(1, TWO, size=1), [F, G]),
    Case("in turns", mixed(item_events(0, ONE, size=1), item_events(1, TWO, size=2)), [F, G]),
    Case("in turns, all index 0", mixed(item_events(0, ONE, size=1), item_events(0, TWO, size=2)), [F, G]),
    Case("in turns, without index", mixed(item_events(None, ONE, size=1), item_events(None, TWO, size=2)), [F, G]),
    Case("in turns, one item id", mixed(item_events(0, ONE, size=1), item_events(1, {**TWO, "id": "fc_1"}, size=1)), [F, G]),
    Case("all index 0", item_events(0, ONE) + item_events(0, TWO), [F, G]),
    Case("all index 0, no item ids", item_events(0, item("c1", F)) + item_events(0, item("c2", G)), [F, G]),
    Case("indexes with gaps", item_events(3, ONE) + item_events(9, TWO), [F, G]),
    Case("without item ids", item_events(0, item("c1", F)) + item_events(1, item("c2", G)), [F, G]),
    Case("by index alone", item_events(0, ONE, by_id=False) + item_events(1, TWO, by_id=False), [F, G]),
    Case("one call id twice", item_events(0, item("c", F, "fc_1")) + item_events(1, item("c", G, "fc_2")), [F, G]),
    Case("without call ids", item_events(0, item(None, F, "fc_1")) + item_events(1, item(None, G, "fc_2")), [F, G]),
    Case("call ids empty", item_events(0, item("", F, "fc_1")) + item_events(1, item("", G, "fc_2")), [F, G]),
    Case("odd call ids", item_events(0, item("a b", F, "fc_1")) + item_events(1, item("call_b64_YSBi", G, "fc_2")), [F, G]),
    Case("not announced", [{"type": "response.output_item.done", "output_index": 0, "item": ONE}, ended(ONE, TWO)], [F, G]),
    Case("told at the very end only", [*item_events(0, ONE), ended(ONE, TWO)], [F, G]),
    Case("in the whole answer only", [ended(ONE, TWO)], [F, G]),
    Case("ended twice", [*item_events(0, ONE), item_events(0, ONE)[-1]], [F]),
    Case("not ended", item_events(0, ONE)[:-1], [F]),
    Case("no arguments", item_events(0, {**ONE, "arguments": ""}), [NOTHING]),
    Case("arguments as an object", [{"type": "response.output_item.done", "output_index": 0, "item": {**ONE, "arguments": {"a": 1}}}], [F]),
    Case("a server's tool before", [
        {"type": "response.output_item.added", "output_index": 0, "item": SEARCH},
        {"type": "response.output_item.done", "output_index": 0, "item": SEARCH}, *item_events(1, ONE)], [F]),
    Case("no name at all", item_events(0, {**ONE, "name": ""}), None),
    *(
        Case(f"whole: {name}", told, calls, streamed=False)
        for name, told, calls in [
            ("two", [ONE, TWO], [F, G]),
            ("one call id twice", [item("c", F), item("c", G)], [F, G]),
            ("without call ids", [item(None, F), item("", G)], [F, G]),
            ("no arguments", [{**ONE, "arguments": ""}], [NOTHING]),
            ("an object", [{**ONE, "arguments": {"a": 1}}], [F]),
            ("a server's tool", [SEARCH, ONE], [F]),
            ("no name", [{**ONE, "name": ""}], None),
        ]
    ),
]  # fmt: skip

CASES = {"openai-chat": CHAT, "anthropic-messages": MESSAGES, "openai-responses": RESPONSES}


def played(wire: str, case: Case) -> tuple[bytes, str]:
    """(the provider's bytes, their content type)."""
    if not case.streamed:
        return orjson.dumps(_whole(wire, case.told)), "application/json"
    return b"".join(_frames(wire, case.told)), "text/event-stream"


def _whole(wire: str, calls: list[Any]) -> dict[str, Any]:
    match wire:
        case "openai-chat":
            message = {"role": "assistant", "content": None, "tool_calls": calls}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        case "anthropic-messages":
            usage = {"input_tokens": 1, "output_tokens": 1}
            said = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": calls}
            return {**said, "stop_reason": "tool_use", "stop_sequence": None, "usage": usage}
    return ended(*calls)["response"]


def _frames(wire: str, told: list[Any]) -> Iterator[bytes]:
    if wire == "openai-chat":
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        for delta in [{"role": "assistant", "content": ""}, *told, {}]:
            held = {"tool_calls": delta} if isinstance(delta, list) else delta
            choice = {"index": 0, "delta": held, "finish_reason": None if delta else "tool_calls"}
            yield b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"
        yield b"data: [DONE]\n\n"
        return
    if wire == "anthropic-messages":
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
        end = {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": usage}
        told = [{"type": "message_start", "message": message}, *told, end, {"type": "message_stop"}]
    else:
        began = {"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress"}}
        last = [] if told[-1]["type"] == "response.completed" else [ended()]
        told = [began, *told, *last]
    for event in told:
        yield f"event: {event['type']}\n".encode() + b"data: " + orjson.dumps(event) + b"\n\n"
