"""Tool names on wires that know only flat functions."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.messages import Tool, ToolCall
from engine.protocols.custom_text import unwrapped, wrapped
from engine.protocols.tool_names import ToolNames, flat

NAMES = st.text("ab_.é-", min_size=1, max_size=70)
TOOLS = st.lists(
    st.one_of(
        st.builds(Tool, NAMES, kind=st.sampled_from(["function", "custom"])),
        st.builds(Tool, NAMES, kind=st.just("namespace"), members=st.lists(st.builds(Tool, NAMES), max_size=3).map(tuple)),
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(TOOLS)
def test_names_go_out_and_come_back(tools: list[Tool]) -> None:
    """Every name fits the wire, two tools never share one, and each is restored with its namespace and kind."""
    names = ToolNames(tools)
    flatly = [(t.name, "", t.kind) for t in tools if t.kind != "namespace"]
    grouped = [(m.name, t.name, "function") for t in tools if t.kind == "namespace" for m in t.members]
    seen = {}
    for name, namespace, kind in dict.fromkeys(flatly + grouped):
        wire = names.wire(name, namespace)
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", wire)
        origin = names.origin(wire)
        assert (origin.name, origin.namespace) == (name, namespace)
        assert seen.setdefault(wire, (name, namespace)) == (name, namespace)
        if sum(1 for n, s, _ in flatly + grouped if (n, s) == (name, namespace)) == 1:
            assert origin.kind == kind


def test_a_bare_name_means_the_only_tool_that_bears_it() -> None:
    """Models drop the namespace they were shown; a plain function of that name goes first."""
    group = Tool("team", kind="namespace", members=(Tool("spawn"), Tool("read")))
    names = ToolNames([Tool("read"), group])
    assert names.restore(ToolCall("1", "spawn")).namespace == "team"
    assert names.restore(ToolCall("1", "read")).namespace == ""
    assert names.restore(ToolCall("1", "team__read")).namespace == "team"


def test_plain_tools_need_nothing() -> None:
    """The common case is recognised, and a call passes as the same object."""
    names = ToolNames([Tool("read"), Tool("web", kind="server")])
    call = ToolCall("1", "read")
    assert names.plain
    assert names.restore(call) is call


@given(st.text(max_size=50))
def test_custom_text_survives(text: str) -> None:
    """A custom tool's text comes out of its argument as it went in."""
    assert unwrapped(wrapped(text)) == text


def test_a_slip_is_the_text_itself() -> None:
    """Arguments that are not of the form are taken as the text."""
    assert [unwrapped(t) for t in ("*** Begin", '{"patch":"x"}', '"x"')] == ["*** Begin", '{"patch":"x"}', "x"]


def test_a_name_is_a_pure_function() -> None:
    """The same name is always flattened alike, so prompt caches hold."""
    assert flat("spawn", "team") == "team__spawn"
    assert flat("x" * 80) == flat("x" * 80)
    assert flat("a.b") != flat("a_b")
