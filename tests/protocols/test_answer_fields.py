"""Every field of an answer at clients of every other protocol, whole and streamed: what it becomes there is written down.

`golden/answer_fields.txt` holds the table. `SBGW_UPDATE_GOLDEN=1` writes it anew.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from engine.llm.messages import Block, Text, Thinking
from tests.protocols.answers import ANSWERS, CHAT, MESSAGES, RESPONSES, Answered, again, clients, streamed, whole
from tests.protocols.fields import differences

GOLDEN = Path(__file__).with_name("golden") / "answer_fields.txt"
SHORT = {MESSAGES: "messages", CHAT: "chat", RESPONSES: "responses"}
PLAIN = {case.provider: case for case in ANSWERS if case.name == "plain"}
PAIRS = [(case, client) for case in ANSWERS for client in clients(case)]

UNSAID = {
    "refusal": "its words stand in the text; Responses has no reason to stop by that name",
    "pause": "a pause of tools that only the provider's own clients can offer",
    "logprobs": "asked for by clients of Chat and Responses, which get them; Messages has no such word",
    "citations": "asked for by a request whose loss `citations` is declared",
    "server_tool": "of a tool that only the provider's own clients can offer; its outcome stands in the text",
    "compaction": "of an edit that only the provider's own clients can ask for",
    "second_choice": "asked for by a request whose loss `choices` is hard",
    "tier": "what the provider served with, which no client of another protocol has asked for by that name",
    "annotations": "sources beside a text; Messages has none without a search result of its own",
    "stop_sequence": "Chat and Responses have no word for which of them it was",
}
"""What has no place in an answer to another protocol's client, and why nobody misses it: the request's own losses say so."""


def told(case: Answered, client: str) -> str:
    """A line of the table."""
    found = "; ".join(differences(whole(PLAIN[case.provider], client), whole(case, client)))
    return f"{case.name} | {SHORT[case.provider]} > {SHORT[client]} | {found or 'nothing'}"


def test_the_table() -> None:
    """What each field of an answer becomes for which client is as written down."""
    table = "".join(f"{told(case, client)}\n" for case, client in PAIRS if case.name != "plain")
    if os.environ.get("SBGW_UPDATE_GOLDEN"):
        GOLDEN.write_text(table, "utf-8")
    assert table == GOLDEN.read_text("utf-8")


@pytest.mark.parametrize(("case", "client"), PAIRS, ids=lambda v: v.name if isinstance(v, Answered) else SHORT[v])
def test_nothing_is_silent(case: Answered, client: str) -> None:
    """A field that changes nothing is one whose absence is accounted for."""
    changed = whole(PLAIN[case.provider], client) != whole(case, client)
    assert changed or case.name == "plain" or case.name in UNSAID


@pytest.mark.parametrize(("case", "client"), PAIRS, ids=lambda v: v.name if isinstance(v, Answered) else SHORT[v])
def test_a_stream_says_what_a_whole_answer_says(case: Answered, client: str) -> None:
    """Read back by the client's own protocol: the same blocks, the same end, the same usage."""
    stream = streamed(case, client)
    assert stream is not None
    known = again(case, client)
    assert [_bare(b) for b in stream.content] == [_bare(b) for b in known.content]
    assert (stream.stop, stream.stop_sequence) == (known.stop, known.stop_sequence)
    assert replace(stream.usage, extra={}) == replace(known.usage, extra={})


def _bare(block: Block) -> Block:
    """Without ids made of the answer's, and what only the one or the other form has to say, such as empty lists."""
    if isinstance(block, Thinking):
        return replace(block, id="")
    return replace(block, extra={k: v for k, v in block.extra.items() if v}) if isinstance(block, Text) else block
