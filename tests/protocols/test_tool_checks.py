"""A call is judged by the tools of its own request; what is said about it holds no word of the model's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.llm.catalogue import Quirks
from engine.llm.messages import Tool, ToolCall
from engine.llm.stream import BlockStop
from engine.protocols.registry import PROTOCOLS
from engine.protocols.sse import SSEParser
from engine.protocols.tool_checks import OfferedTools, ToolCheckCache

SHELL = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"command": {"type": "string"}, "mode": {"type": "string", "pattern": "^(a+)+$"}},
    "required": ["command"],
    "additionalProperties": False,
}
TOOLS = (
    Tool("Bash", schema=SHELL),
    Tool("mcp__github__create_issue", schema={}),
    Tool("patch", kind="custom"),
    Tool("crm", kind="namespace", members=(Tool("lookup", schema={"type": "object"}), Tool("patch_it"))),
    Tool("web_search", kind="server"),
    Tool("read_file"),
    Tool("readFile"),
)


def offered(*, served: bool = False) -> OfferedTools:
    return OfferedTools(TOOLS, served=served)


def call(name: str, arguments: str = "{}", **more: Any) -> ToolCall:
    return ToolCall("c1", name, arguments, **more)


@pytest.mark.parametrize(
    "made",
    [
        call("Bash", '{"command": "ls"}'),
        call("mcp__github__create_issue", '{"anything": 1}'),
        call("patch", "*** Begin Patch", kind="custom"),
        call("lookup", namespace="crm"),
        call("read_file", ""),
    ],
)
def test_a_sound_call_is_left_alone(made: ToolCall) -> None:
    """The very object comes back."""
    checked = offered().check(made)
    assert checked.call is made
    assert not checked.fault


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("bash", ("", "Bash")),
        ("functions.Bash", ("", "Bash")),
        ("default_api:bash", ("", "Bash")),
        ("functions.Bash:0", ("", "Bash")),
        ("Bash<|channel|>commentary", ("", "Bash")),
        (" Bash ", ("", "Bash")),
        ("create_issue", ("", "mcp__github__create_issue")),
        ("mcp.github.create_issue", ("", "mcp__github__create_issue")),
        ("lookup", ("crm", "lookup")),
        ("crm.lookup", ("crm", "lookup")),
    ],
)
def test_a_mangled_name_is_found(said: str, meant: tuple[str, str]) -> None:
    """Case, separators, wrappers, control tokens and left-out namespaces."""
    checked = offered().check(call(said, '{"command": "ls"}'))
    assert not checked.fault
    assert (checked.call.namespace, checked.call.name) == meant


@pytest.mark.parametrize(
    "said", ["", "Bush", "READ-FILE", "gitlab__create_issue", "other.Bash", "web_search", "<|channel|>", "functions."]
)
def test_a_name_that_could_mean_another_is_not_guessed(said: str) -> None:
    """Near misses, two candidates, other namespaces, and tools that the provider would have run."""
    checked = offered().check(call(said, '{"command": "ls"}'))
    assert checked.fault == "unknown_tool"


def test_a_served_tool_may_be_called_where_it_is_served() -> None:
    """On its own protocol a vendor's typed tool comes as a call by that name."""
    assert not offered(served=True).check(call("web_search")).fault


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ('{"command": 1}', "schema"),
        ("{}", "schema"),
        ('{"command": "ls", "secret-word": 1}', "schema"),
        ('{"command": "secret-word', "not_json"),
        ('["secret-word"]', "not_json"),
    ],
)
def test_what_is_wrong_is_said_without_the_models_words(arguments: str, fault: str) -> None:
    """The message names the tool and the place in its schema."""
    checked = offered().check(call("Bash", arguments))
    assert checked.fault == fault
    assert "Bash" in checked.message
    assert "secret-word" not in checked.message


def test_repaired_arguments_must_fit_too() -> None:
    """A comma too many is taken out, and what is left is judged."""
    assert offered().check(call("Bash", '{"command": "ls",}')).call.arguments == '{"command":"ls"}'
    assert offered().check(call("Bash", '{"mode": "a",}')).fault == "schema"


def test_a_pattern_takes_linear_time() -> None:
    """An expression that would keep a backtracking matcher busy for years."""
    assert offered().check(call("Bash", '{"command": "ls", "mode": "' + "a" * 5000 + '!"}')).fault == "schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no-such-type"},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/never-fetched"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/absent"}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=look)"}}},
        {"$ref": "#"},
    ],
)
def test_a_schema_that_cannot_be_followed_judges_nothing(schema: dict[str, Any]) -> None:
    """It is the client's own mistake, and nothing is fetched for it."""
    checked = OfferedTools([Tool("odd", schema=schema)], served=False).check(call("odd", '{"a": "x"}'))
    assert not checked.fault


def test_tool_lists_are_compiled_once_and_bounded() -> None:
    """The same list gives the same object; old lists are forgotten."""
    cache = ToolCheckCache()
    first = cache.get(TOOLS, served=False)
    assert cache.get(tuple(replace(tool) for tool in TOOLS), served=False) is first
    assert cache.get(TOOLS, served=True) is not first
    assert cache.get(TOOLS[1:], served=False) is not first
    for number in range(100):
        cache.get((Tool(f"t{number}"),), served=False)
    assert cache.get(TOOLS, served=False) is not first


def test_a_vendors_own_namespace_is_no_slip() -> None:
    """A tool that the vendor's search found comes in a namespace of its own making, and goes to the client as it came."""
    made = call("read_file", namespace="read_file")
    assert offered(served=True).check(made).call is made
    assert offered().check(made).call.namespace == ""


def _recorded_calls(folder: Path) -> Iterator[tuple[OfferedTools, ToolCall]]:
    """Every tool call of a recorded answer with the tools that its request offered."""
    for file in sorted(folder.glob("*/*.json")):
        recorded = orjson.loads(file.read_bytes())
        wire, asked = PROTOCOLS.get(recorded.get("protocol")), (recorded.get("request") or {}).get("body")
        answer = recorded.get("response") or {}
        if wire is None or not isinstance(asked, dict) or not asked.get("tools") or answer.get("status") != 200:
            continue
        tools = OfferedTools(wire.decode_request(asked).tools, served=True)
        if isinstance(answer.get("body"), dict):
            content: Iterable[Any] = wire.decode_response(answer["body"], quirks=Quirks()).content
        else:
            parser, decoder = SSEParser(), wire.stream_decoder(quirks=Quirks())
            events = [*parser.feed(str(answer.get("raw", "")).encode()), *parser.close()]
            told = [out for event in events for out in decoder.feed(event)] + decoder.close()
            content = [event.block for event in told if isinstance(event, BlockStop)]
        yield from ((tools, block) for block in content if isinstance(block, ToolCall))


def test_recorded_calls_are_sound(shared: Path) -> None:
    """Of all recorded calls of real models only five are not: three lack a required field, one was cut, one begins with `{}`."""
    found: Counter[str] = Counter()
    for tools, made in _recorded_calls(shared / "corpus"):
        checked = tools.check(made)
        found[checked.fault or ("sound" if checked.call is made else "repaired")] += 1
    assert found.pop("sound") >= 380
    assert found == {"schema": 3, "not_json": 1, "repaired": 1}
