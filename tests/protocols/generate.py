"""Hypothesis strategies for the neutral vocabulary: conversations and answers as odd as clients and providers make them."""

from __future__ import annotations

from hypothesis import strategies as st

from engine.llm.messages import (
    Block,
    Document,
    Image,
    LLMRequest,
    LLMResponse,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
)

TEXTS = st.sampled_from(["", " ", "hi", "two\nlines", "é😀", "  padded  "])
IDS = st.sampled_from(["toolu_1", "functions.weather:0", "a b", "", "x" * 80, "call_9"])
NAMES = st.sampled_from(["read", "mcp__server__tool", "odd.name", "n" * 70])
ARGUMENTS = st.sampled_from(["{}", '{"a":1}', "", "not json", "[1]", '{"a":"é"}'])
MARK = {"cache_control": {"type": "ephemeral"}}

texts = st.builds(Text, TEXTS)
images = st.sampled_from([Image("image/png", "aGk="), Image(url="https://example.org/a.png")])
documents = st.sampled_from([Document("application/pdf", data="aGk="), Document(text="words", title="a title")])
thoughts = st.sampled_from([Thinking("plain"), Thinking("foreign", "sealed", origin="openai-responses"), Thinking("")])
opaques = st.just(Opaque("openai-responses", {"type": "web_search_call", "id": "ws_1"}))
calls = st.builds(ToolCall, IDS, NAMES, ARGUMENTS)
results = st.builds(ToolResult, IDS, st.lists(st.one_of(texts, images), max_size=2).map(tuple), st.booleans())


def messages(own_thoughts: st.SearchStrategy[Thinking] = thoughts) -> st.SearchStrategy[Message]:
    """Any message, results and calls in any order, answered or not."""
    said: st.SearchStrategy[Block] = st.one_of(texts, st.builds(Refusal, TEXTS), own_thoughts, opaques, calls)
    asked: st.SearchStrategy[Block] = st.one_of(texts, images, documents, results)
    return st.one_of(
        st.builds(Message, st.sampled_from(["system", "developer"]), st.lists(texts, max_size=2).map(tuple)),
        st.builds(Message, st.just("assistant"), st.lists(said, max_size=4).map(tuple)),
        st.builds(Message, st.just("user"), st.lists(asked, max_size=4).map(tuple)),
    )


TOOLS = (
    Tool("read", "Reads.", {"type": "object", "properties": {"path": {"type": "string"}}}),
    Tool("odd.name", "", None),
    Tool("patch", "Patches.", kind="custom"),
    Tool("group", kind="namespace", members=(Tool("read", "Reads too."), Tool("write", "Writes."))),
    Tool("choice", schema={"anyOf": [{"type": "object"}], "properties": {}}),
)

requests = st.builds(
    LLMRequest,
    st.just("m"),
    st.lists(messages(), min_size=1, max_size=8).map(tuple),
    tools=st.sampled_from([(), TOOLS]),
    tool_choice=st.sampled_from(
        [None, ToolChoice("auto"), ToolChoice("required"), ToolChoice("tool", "read"), ToolChoice("none")]
    ),
    parallel_tool_calls=st.sampled_from([None, True, False]),
    max_output_tokens=st.sampled_from([None, 1, 2000, 10_000_000]),
    temperature=st.sampled_from([None, 0.0, 1.0, 1.7]),
    top_p=st.sampled_from([None, 0.5, 1.0]),
    top_k=st.sampled_from([None, 5]),
    stop=st.sampled_from([(), ("STOP", "\n")]),
    seed=st.sampled_from([None, 7]),
    reasoning=st.sampled_from(
        [
            None,
            Reasoning(effort="none"),
            Reasoning(effort="minimal"),
            Reasoning(effort="xhigh", summary="auto"),
            Reasoning(True, budget_tokens=1500),
            Reasoning(True, adaptive=True),
            Reasoning(False),
        ]
    ),
    user=st.sampled_from(["", "someone", "u" * 300]),
    service_tier=st.sampled_from(["", "auto", "flex"]),
    protocol=st.just("openai-responses"),
    extra=st.just({"store": False}),
)

usages = st.builds(
    Usage,
    input_tokens=st.integers(200, 1000),
    output_tokens=st.integers(0, 1000),
    cached_tokens=st.sampled_from([None, 0, 100]),
    cache_write_tokens=st.sampled_from([None, 0, 50]),
)
said_texts = st.builds(Text, st.sampled_from(["hi", "two\nlines", "é😀"]))
own_thoughts = st.sampled_from(
    [
        Thinking("mine", "c2ln", origin="anthropic-messages"),
        Thinking("", "c2ln", origin="anthropic-messages"),
        Thinking(opaque="ZGF0YQ==", redacted=True, origin="anthropic-messages"),
    ]
)
said_calls = st.builds(
    ToolCall, st.sampled_from(["toolu_1", "functions.weather:0"]), st.just("read"), st.sampled_from(["{}", '{"a":1}'])
)
answers = st.builds(
    LLMResponse,
    st.just("msg_1"),
    st.just("m"),
    st.lists(st.one_of(said_texts, own_thoughts, said_calls), max_size=5).map(tuple),
    st.sampled_from(["end_turn", "max_tokens", "refusal", "pause_turn"]),
    usage=usages,
    protocol=st.just("anthropic-messages"),
)
"""Answers that Anthropic Messages can say without a loss."""
