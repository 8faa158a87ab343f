"""What a client of another protocol can be told of an answer: the recording's meaning, less what its protocol has no word for.

Every deviation has a name here and a reason that a user would accept. A difference without one is a defect of the gateway.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.fidelity.meaning import Answer, Call

MESSAGES, CHAT, RESPONSES = "anthropic-messages", "openai-chat", "openai-responses"

DECLARED: dict[str, str] = {
    "provider_items": "blocks and items of tools that the provider runs (searches, code, MCP, compaction, made media). No request"
    " in another protocol brings them about: offering such a tool is a loss that is declared before dispatch.",
    "citations": "sources named beside the text. Messages ties them to its own search results and documents, Chat has only web"
    " addresses; whoever asks for citations has the loss `citations`, `web_search` or `server_tool` declared.",
    "stop_word": "why the answer ended, where the client's protocol has no word: a matched stop sequence and a pause are an"
    " ordinary end, a full context is a reached limit, a refusal without refusal text a filtered or an ordinary end.",
    "refusal_text": "Messages has no refusal part: the words are text, the stop reason says `refusal`.",
    "custom_call": "Messages and functions take JSON: a custom call's free text is the one argument `input`.",
    "broken_arguments": "arguments that are no JSON object reach a Messages client under the one key `raw_arguments`.",
    "chat_order": "one Chat message holds reasoning, then text, then calls: pieces lose their place among the other kinds.",
    "namespace": "a tool found by the provider's own search comes under a namespace; a Chat client, which never made one, reads"
    " it before the name unless its request offers the bare name.",
    "trimmed_recording": "the recording contradicts itself, deltas and last event or calls and stop reason: it was shortened or"
    " joined by hand.",
}
"""Name of a deviation → why it is right."""

TRIMMED = ("openai-shell-container-1.57adf0da", "anthropic-programmatic-tool-calling-1.9f483e43")
_STOPS = {
    CHAT: {"stop_sequence": "end", "pause": "end", "context": "max_tokens"},
    RESPONSES: {"stop_sequence": "end", "pause": "end", "context": "max_tokens"},
    MESSAGES: {"content_filter": "refusal"},
}


def told(answer: Answer, wire: str, client: str) -> tuple[Answer, set[str]]:
    """(what a client of `client` should read of an answer of `wire`, names of the deviations)."""
    names: set[str] = set()
    if answer.error or wire == client:
        return answer, names
    said = replace(answer, other=[])
    if answer.other:
        names.add("provider_items")
    _stop(said, client, names)
    said.sources = [s for s in answer.sources if _can_cite(s, wire, client)]
    if said.sources != answer.sources:
        names.add("citations")
    if client == MESSAGES:
        if answer.refusal:
            names.add("refusal_text")
            said.text, said.refusal, said.stop = answer.text + answer.refusal, "", "refusal"
        said.calls = [_as_function(call, names) for call in answer.calls]
    if client == CHAT:
        said.order = chat_order(answer.order)
        if said.order != answer.order:
            names.add("chat_order")
    return said, names


def chat_order(order: list[str]) -> list[str]:
    """The order in which a Chat client can read the same pieces."""
    return [kind for kind in "rtc" if kind in order]


def _stop(said: Answer, client: str, names: set[str]) -> None:
    stop = _STOPS[client].get(said.stop, said.stop)
    if stop == "refusal" and not said.refusal and client != MESSAGES:
        stop = "content_filter" if client == CHAT else "end"
    if stop != said.stop or (said.stop_sequence and client != MESSAGES):
        names.add("stop_word")
    said.stop = stop
    if client != MESSAGES:
        said.stop_sequence = None


def _can_cite(source: str, wire: str, client: str) -> bool:
    return MESSAGES not in (wire, client) and not source.startswith("file ")


def _as_function(call: Call, names: set[str]) -> Call:
    arguments: Any = call.arguments
    if call.kind == "custom":
        names.add("custom_call")
        return Call(call.id, call.name, {"input": arguments})
    if not isinstance(arguments, dict):
        names.add("broken_arguments")
        return Call(call.id, call.name, {"raw_arguments": arguments})
    return call
