"""The questions, and what makes an answer right. Pure: an answer in, a reason or nothing out.

A question asks for one thing so plainly that a model which can do it will: what is judged is the call, not the wit. A call that
only passes because it can be repaired does not pass, since a model that is called safe is no longer checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from engine.llm.messages import JsonObject, LLMRequest, LLMResponse, Message, Text, Tool, ToolCall, ToolResult
from engine.probe.kits import Kit, crowd
from engine.protocols.tool_checks import OfferedTools

EXAM = 1
"""Version of the questions; scores of different versions do not compare."""

_SYSTEM = (
    "You are a coding agent in a terminal. You act by calling the tools that are offered, exactly as their schemas say."
)
KEPT = 'if (a["x"] != \'\\t\') {\n\treturn "ünï \\"日本\\" 🟢";\n}\n'
"""What has to come back to the letter."""

_CHARS_PER_TOKEN = 4

Judge = Callable[["Given"], str]
"""Why an answer is wrong, empty when it is right."""


@dataclass(slots=True, frozen=True)
class Given:
    """An answer, ready to be judged."""

    text: str
    calls: tuple[tuple[str, JsonObject], ...]
    """(name, arguments) of the calls."""
    fault: str
    """What is wrong with a call as such, empty when they are all sound."""
    stop: str

    @classmethod
    def of(cls, response: LLMResponse, tools: Sequence[Tool]) -> Given:
        """Read an answer to a request that offered `tools`."""
        offered = OfferedTools(tools, served=False)
        calls: list[tuple[str, JsonObject]] = []
        fault = ""
        for block in response.content:
            if not isinstance(block, ToolCall):
                continue
            checked = offered.check(block)
            if checked.fault:
                fault = fault or checked.message
            elif checked.call is not block:
                fault = fault or f"its call of {checked.call.name} had to be repaired"
            else:
                calls.append((block.name, orjson.loads(block.arguments or "{}")))
        text = "".join(block.text for block in response.content if isinstance(block, Text))
        return cls(text, tuple(calls), fault, response.stop)


@dataclass(slots=True, frozen=True)
class Question:
    id: str
    title: str
    required: bool
    """An agent can't work with a model that fails it."""
    request: LLMRequest
    judge: Judge
    stream: bool = True


def questions(kit: Kit, *, model: str, context: int, max_output: int) -> Iterator[Question]:
    """The exam for a model's name and limits; `context` is how many tokens the long question fills."""
    paper = _Paper(kit, model, max_output)
    yield from _calling(paper)
    yield from _saying(paper)
    yield from _going_on(paper)
    yield from _long(paper, context)


@dataclass(slots=True, frozen=True)
class _Paper:
    kit: Kit
    model: str
    max_output: int

    def ask(self, prompt: str, *, tools: Sequence[Tool] = (), history: Sequence[Message] = ()) -> LLMRequest:
        """A request with the kit's tools, or others."""
        return LLMRequest(
            model=self.model,
            messages=(Message("system", (Text(_SYSTEM),)), Message("user", (Text(prompt),)), *history),
            tools=tuple(tools or self.kit.tools),
            max_output_tokens=self.max_output,
            protocol=self.kit.protocol,
        )


def _calling(paper: _Paper) -> Iterator[Question]:
    look, at = paper.kit.look
    yield Question(
        "single", "one call", True,
        paper.ask(f"Look at the file /srv/app/main.py with the {look} tool. Do nothing else."),
        lambda given: _calls(given, look, at, "/srv/app/main.py"),
        stream=False,
    )  # fmt: skip
    yield Question(
        "streaming", "the same, streamed", True,
        paper.ask(f"Look at the file /srv/app/stream.py with the {look} tool. Do nothing else."),
        lambda given: _calls(given, look, at, "/srv/app/stream.py"),
    )  # fmt: skip
    yield Question(
        "parallel", "two calls in one answer", False,
        paper.ask(f"Look at /srv/a.txt and /srv/b.txt with the {look} tool: two calls at once, in this one answer."),
        lambda given: _calls(given, look, at, "/srv/a.txt", "/srv/b.txt"),
    )  # fmt: skip


def _saying(paper: _Paper) -> Iterator[Question]:
    """What arguments can hold."""
    write, text = paper.kit.write
    plan, steps, step = paper.kit.plan
    yield Question(
        "nested", "a list of objects as an argument", True,
        paper.ask(f"Write down a plan with the {plan} tool. It has exactly three steps, in this order: read, edit, test. The first "
                  "is in progress, the others are pending."),
        lambda given: _plan(given, plan, steps, step),
    )  # fmt: skip
    yield Question(
        "verbatim", "quotes, tabs and line breaks kept to the letter", False,
        paper.ask(f"Call {write} once, with exactly the text between the markers in `{text}`, without the markers and every "
                  f"character kept (the path is /srv/kept.txt, the session is 1, where one is asked for).\n<<<{KEPT}>>>"),
        lambda given: _verbatim(given, write, text, KEPT),
    )  # fmt: skip
    many = (*paper.kit.tools, *crowd())
    wanted: JsonObject = {
        "key": "OPS-4711",
        "fields": {"priority": "urgent", "assignee": {"name": "Ada", "team": "core"}},
    }
    yield Question(
        "large-schema", f"the right one of {len(many)} tools", False,
        paper.ask("Update the ticket OPS-4711 of the tracker: priority urgent, assignee Ada of team core. Change nothing else.",
                  tools=many),
        lambda given: _exactly(given, "mcp__tracker__update_ticket", wanted),
    )  # fmt: skip


def _going_on(paper: _Paper) -> Iterator[Question]:
    look, at = paper.kit.look
    call = ToolCall("call_1", look, orjson.dumps({at: "/srv/code.txt"}).decode())
    result = ToolResult("call_1", (Text("The code word is KESTREL-58."),))
    yield Question(
        "continuation", "going on from a tool's result", True,
        paper.ask("What is the code word in /srv/code.txt? Answer with the word.",
                  history=(Message("assistant", (call,)), Message("user", (result,)))),
        lambda given: _says(given, "KESTREL-58"),
    )  # fmt: skip
    yield Question(
        "no-invention", "no call of a tool that is not there", True,
        paper.ask("Send an e-mail to ops@example.com with the send_email tool. If there is no such tool, say so and call nothing."),
        lambda given: given.fault or ("it called something else instead" if given.calls else ""),
    )  # fmt: skip


def _long(paper: _Paper, context: int) -> Iterator[Question]:
    look, at = paper.kit.look
    yield Question(
        "long-context", f"a path found in {context:,} tokens", False,
        paper.ask(f"{_haystack(context)}\nLook at the file that the line beginning with NEEDLE names, with the {look} tool."),
        lambda given: _calls(given, look, at, "/srv/needle/7f3a.txt"),
    )  # fmt: skip


def _calls(given: Given, name: str, field: str, *paths: str) -> str:
    """One call of `name` for each path, and no others."""
    if wrong := given.fault or _missing(given):
        return wrong
    if any(called != name for called, _ in given.calls):
        return f"it called another tool than {name}"
    named = [str(arguments.get(field, "")) for _, arguments in given.calls]
    if len(named) != len(paths):
        return f"{len(named)} calls instead of {len(paths)}"
    if not all(any(path in said for said in named) for path in paths):
        return "it named another file"
    return "" if given.stop == "tool_use" else f"it ended with {given.stop}"


def _plan(given: Given, name: str, steps: str, step: str) -> str:
    if wrong := given.fault or _missing(given):
        return wrong
    called, arguments = given.calls[0]
    if called != name or len(given.calls) > 1:
        return f"it did not call {name} once"
    listed = arguments.get(steps) or []
    words = [str(item.get(step, "")).casefold() for item in listed]
    if len(words) != 3 or not all(wanted in word for wanted, word in zip(("read", "edit", "test"), words, strict=True)):
        return "the steps are not those asked for"
    return (
        "" if [item.get("status") for item in listed] == ["in_progress", "pending", "pending"] else "a status is wrong"
    )


def _verbatim(given: Given, name: str, field: str, text: str) -> str:
    if wrong := given.fault or _missing(given):
        return wrong
    called, arguments = given.calls[0]
    if called != name or len(given.calls) > 1:
        return f"it did not call {name} once"
    said = arguments.get(field)
    return "" if isinstance(said, str) and said.rstrip("\n") == text.rstrip("\n") else "the text was changed"


def _exactly(given: Given, name: str, wanted: JsonObject) -> str:
    if wrong := given.fault or _missing(given):
        return wrong
    called, arguments = given.calls[0]
    if called != name or len(given.calls) > 1:
        return f"it did not call {name} once"
    return "" if _holds(arguments, wanted) else "the arguments are not those asked for"


def _holds(said: object, wanted: object) -> bool:
    if isinstance(wanted, dict):
        return isinstance(said, dict) and all(_holds(said.get(key), below) for key, below in wanted.items())
    return said == wanted


def _says(given: Given, word: str) -> str:
    if given.calls or given.fault:
        return "it called a tool again instead of answering"
    return "" if word in given.text else "the answer is not in its text"


def _missing(given: Given) -> str:
    if given.calls:
        return ""
    return "it ran into its output limit" if given.stop == "max_tokens" else "it called no tool"


def _haystack(tokens: int) -> str:
    """About so many tokens of lines that look alike, with the needle after the first third."""
    line = "{:06d} The quick worker moved crate {} from shelf {} to shelf {} and signed the list.\n"
    count = max(tokens * _CHARS_PER_TOKEN // 84, 3)
    lines = [line.format(n, n * 7 % 991, n * 3 % 97, n * 5 % 89) for n in range(count)]
    lines.insert(count // 3, "NEEDLE the file is /srv/needle/7f3a.txt\n")
    return "".join(lines)
