"""What is told without being read is what reading would tell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.protocol import SSEEvent
from engine.llm.stream import StreamEvent
from engine.protocols.likeness import Likeness
from engine.protocols.registry import PROTOCOLS

TEXTS = st.one_of(st.sampled_from(["a", "m", "c", '"', "\\", "\n", "é", "\u2028", ""]), st.text(max_size=6))
EXTRA: list[dict[str, Any]] = [
    {"finish_reason": "stop"},
    {"finish_reason": "length", "logprobs": {"content": [{"token": "a", "logprob": -1}]}},
    {"logprobs": {"content": [{"token": "b", "logprob": -1}]}},
    {"stop_reason": "END"},
    {"error": {"message": "m"}},
]
DELTAS: list[dict[str, Any]] = [
    {"role": "assistant", "content": "a"},
    {"content": "a", "refusal": "b"},
    {"reasoning_content": "a"},
    {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"content": "a"}'}}]},
]
TOPS: list[dict[str, Any]] = [
    {"content": "a"},
    {"model": "m"},
    {"usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"obfuscation": "xy"},
    {"error": {"message": "m"}},
]


Wrapping = tuple[dict[str, Any], dict[str, Any], dict[str, Any], bool, bool]
WRAPPINGS = st.tuples(
    st.one_of(st.just({"content": "a"}), st.sampled_from(DELTAS)),
    st.one_of(st.just({}), st.sampled_from(EXTRA)),
    st.one_of(st.just({}), st.sampled_from(TOPS)),
    st.booleans(),
    st.booleans(),
)


def chunk(wrapping: Wrapping, text: str) -> str:
    delta, extra, top, ascii_only, spaced = wrapping
    delta = delta | {"content": text} if "content" in delta else delta
    choice = {"index": 0, "delta": delta, "finish_reason": None} | extra
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps({"id": "c", "choices": [choice]} | top, ensure_ascii=ascii_only, separators=separators)


@st.composite
def streams(draw: st.DrawFn) -> list[str]:
    """Chunks in few wrappings, after one of plain text: so that many are alike."""
    plain: Wrapping = ({"content": "a"}, {}, {}, True, False)
    last: Wrapping = ({"content": "a"}, {"finish_reason": "stop"}, {}, True, False)
    wrappings = [plain, *draw(st.lists(WRAPPINGS, min_size=1, max_size=2))]
    said = draw(st.lists(st.tuples(st.sampled_from(wrappings), TEXTS), max_size=8))
    return [*(chunk(wrapping, text) for wrapping, text in [(plain, "a"), *said]), chunk(last, ""), "[DONE]"]


def told(datas: list[str]) -> list[tuple[list[StreamEvent], bool]]:
    decoder = PROTOCOLS["openai-chat"].stream_decoder(quirks=Quirks())
    return [(decoder.feed(SSEEvent("", data)), decoder.quiet) for data in datas] + [(decoder.close(), False)]


@given(streams())
@settings(deadline=None, max_examples=300)
def test_a_chunk_like_another_says_what_reading_it_says(datas: list[str]) -> None:
    """Whatever stands beside the text, however it is written."""
    found = told(datas)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Likeness, "learn", lambda *_: None)
        assert repr(found) == repr(told(datas))


LEARNED = '{"id":"a","content":"a","more":null}'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LEARNED, "a"),
        ('{"id":"a","content":"b\\n\\u00e9","more":null}', "b\né"),
        ('{"id":"a","content":"","more":null}', ""),
        ('{"id":"b","content":"a","more":null}', ""),
        ('{"id":"a","content":"a","more":1}', ""),
        ('{"id":"a","content":"a","calls":"b","more":null}', ""),
        ('{"id":"a","content":"a\\","more":null}', ""),
        ('{"id":"a","content":"\x01","more":null}', ""),
        ('{"id":"a","content":null}', ""),
    ],
)
def test_likeness(data: str, expected: str) -> None:
    """Only the text may differ, and it must be one."""
    alike = Likeness("content")
    assert not alike.text(LEARNED)
    alike.learn(LEARNED, "a")
    assert alike.text(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        '{"content":"a","x":{"content":"a"}}',
        '{"content":"b"}',
        '{"content":"\\u0061"}',
        '{"text":"a"}',
        '{"content":["a"]}',
    ],
)
def test_what_might_be_another_field_is_not_learned(data: str) -> None:
    """One field of that name, with the text written as we would."""
    alike = Likeness("content")
    alike.learn(data, "a")
    assert not alike.text(data)
