"""What the emulated model says, as data: a script of turns, found again from the conversation itself.

The place in a script is the number of tool results the conversation holds, never a counter of ours: a retry, a fallback to
another provider and a side call without tools all get the answer that belongs to what they sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from tests.emulator.conversation import Conversation, Step
from tests.emulator.dialects import Action, Edit, PlannedCall, Read, Shell, example, plan


@dataclass(slots=True, frozen=True)
class Usage:
    """Token counts to report instead of the estimated ones."""

    input: int
    output: int
    cached: int = 0
    cache_written: int = 0
    """Part of it that is kept for an hour: `written_1h`."""
    reasoning: int = 0
    written_1h: int = 0
    cost: float | None = None
    """Chat: what the vendor says it charges."""


@dataclass(slots=True, frozen=True)
class Turn:
    """One answer. `stop` empty means: `tool_use` if there are calls, else `end_turn`."""

    text: str = ""
    thinking: str = ""
    calls: tuple[Action, ...] = ()
    stop: str = ""
    usage: Usage | None = None
    images: int = 0
    """Images that the conversation must hold by now."""


@dataclass(slots=True, frozen=True)
class Answer:
    """A turn made concrete for one request: tools by their offered names, text cut to the caller's limits."""

    text: str = ""
    thinking: str = ""
    """What the model thought, though the wire may hide it; empty when it did not think."""
    calls: tuple[PlannedCall, ...] = ()
    stop: str = "end_turn"
    """`end_turn tool_use max_tokens stop_sequence refusal`."""
    stop_sequence: str = ""
    usage: Usage | None = None


@dataclass(slots=True, frozen=True)
class Script:
    """Turns in order. After the last one the model repeats it; requests without tools get `side`."""

    turns: tuple[Turn, ...]
    side: str = "ok"
    """Answer to titles, summaries and warm-ups: requests without tools when the script has calls."""
    branches: Mapping[str, Script] = field(default_factory=dict)
    """Scripts for conversations that open with a text which holds the key: those of sub-agents."""

    @property
    def calls(self) -> tuple[Action, ...]:
        """All scripted calls, in the order their results come back."""
        return tuple(call for turn in self.turns for call in turn.calls)

    def place(self, conversation: Conversation) -> tuple[int, int]:
        """(turn that answers this conversation, how many of its calls are answered already).

        A turn with calls is found by the tool results before it; one without, by how often the model has spoken.
        """
        seen, answered = 0, len(conversation.steps)
        for index, turn in enumerate(self.turns):
            if answered < seen + len(turn.calls):
                return index, max(0, answered - seen)
            seen += len(turn.calls)
            if not turn.calls and answered <= seen and conversation.turns <= index:
                return index, 0
        return len(self.turns) - 1, 0

    def branch(self, conversation: Conversation) -> Script:
        """The script that this conversation follows."""
        return next((script for text, script in self.branches.items() if text in conversation.opening), self)

    def answer(self, conversation: Conversation) -> Answer:
        """The answer to this conversation, within its limits and choices."""
        if (branch := self.branch(conversation)) is not self:
            return branch.answer(conversation)
        if not conversation.offers and self.calls:
            turn = Turn(text=self.side)
        else:
            index, done = self.place(conversation)
            turn = self.turns[index]
            turn = replace(turn, calls=turn.calls[done:])
        calls = () if conversation.choice == "none" else tuple(plan(call, conversation.offers) for call in turn.calls)
        if conversation.choice not in ("auto", "none"):
            calls = _forced(calls, conversation)
        if not conversation.parallel:
            calls = calls[:1]
        text = turn.text if conversation.schema is None else _fitting(conversation.schema)
        answer = Answer(text=text, thinking=turn.thinking if conversation.thinks else "", calls=calls, usage=turn.usage)
        return _limited(replace(answer, stop=turn.stop or ("tool_use" if calls else "end_turn")), conversation)

    def complaints(self, conversation: Conversation) -> Iterator[str]:
        """What a conversation shows to be not as scripted: altered calls, results without the expected text or image."""
        if (branch := self.branch(conversation)) is not self:
            yield from branch.complaints(conversation)
            return
        wanted = self.turns[self.place(conversation)[0]].images if conversation.offers else 0
        if conversation.images < wanted:
            yield f"{conversation.images} images came, {wanted} were looked at"
        for number, (action, step) in enumerate(zip(self.calls, conversation.steps, strict=False)):
            planned = plan(action, conversation.offers) if conversation.offers else None
            if planned and planned.name != step.name:
                yield f"call {number}: {planned.name} came back as {step.name}"
            elif planned and planned.input != step.input:
                yield f"call {number}: the arguments of {step.name} came back changed: {_short(step)}"
            if action.expect and action.expect not in step.output:
                yield f"call {number}: the result of {step.name} lacks {action.expect!r}: {step.output[:200]!r}"


def _short(step: Step) -> str:
    return orjson.dumps(step.input).decode()[:200]


def _forced(calls: tuple[PlannedCall, ...], conversation: Conversation) -> tuple[PlannedCall, ...]:
    """The calls of a model that was told to call a tool."""
    wanted = conversation.choice
    if calls and wanted == "required":
        return calls
    offer = conversation.offers[0] if wanted == "required" else conversation.offer(wanted)
    if offer is None or any(call.name == wanted for call in calls):
        return calls
    return (PlannedCall(offer.name, example(offer.schema), offer.namespace, custom=offer.custom),)


def _fitting(schema: Any) -> str:
    return orjson.dumps(example(schema)).decode()


def _limited(answer: Answer, conversation: Conversation) -> Answer:
    """Cut at a stop sequence or at the caller's output limit (four characters to a token)."""
    for stop in conversation.stops:
        if stop and stop in answer.text:
            return replace(answer, text=answer.text.split(stop)[0], calls=(), stop="stop_sequence", stop_sequence=stop)
    if conversation.max_output and not answer.calls and len(answer.text) > 4 * conversation.max_output:
        return replace(answer, text=answer.text[: 4 * conversation.max_output], stop="max_tokens")
    return answer


@dataclass(slots=True, frozen=True)
class Scenario:
    """A script with the files it starts from and the files it must leave, names relative to `folder`."""

    script: Script
    folder: Path
    before: dict[str, str]
    after: dict[str, str]
    prompt: str
    final: str

    def prepare(self) -> None:
        """Write the files that the session starts from."""
        for name, text in self.before.items():
            (self.folder / name).write_text(text, encoding="utf-8")

    def left(self) -> dict[str, str]:
        """The expected files as they are now; a missing one reads as `<missing>`."""
        paths = {name: self.folder / name for name in self.after}
        return {name: p.read_text(encoding="utf-8") if p.exists() else "<missing>" for name, p in paths.items()}


def tool_loop(folder: Path) -> Scenario:
    """Four tool turns in `folder`: read, edit, shell, three calls at once; then a final text.

    The texts hold quotes, backslashes, a line break and characters of two, three and four bytes, so a session also shows
    that nothing on the way bends them.
    """
    notes = folder / "notes.txt"
    old, new = "colour: red “ä” \\n", "colour: green “日本” 🟢 \\t"
    before = {"notes.txt": f"title: notes\n{old}\nsize: 1\n"}
    changed = f"title: notes\n{new}\nsize: 1\n"
    final = "All four steps are done: “notes.txt” is green 🟢."
    turns = (
        Turn(
            "I'll look at the notes first.",
            "The user wants a colour changed. Read before writing.",
            (Read(notes, expect="title: notes"),),
        ),
        Turn(thinking="One line to change; keep the rest.", calls=(Edit(notes, old, new),)),
        Turn(
            "Now the sorted copy.",
            calls=(Shell(f"sort '{notes}' > '{folder}/sorted.txt' && wc -l < '{folder}/sorted.txt'", expect="3"),),
        ),
        Turn(
            "Two files and a check, at once.",
            "These three do not depend on each other.",
            (
                Shell(f"printf '%s' 'one \"quoted\"' > '{folder}/one.txt' && echo made-one", expect="made-one"),
                Shell(f"printf '%s' 'two ünï' > '{folder}/two.txt' && echo made-two", expect="made-two"),
                Read(notes, expect="🟢"),
            ),
        ),
        Turn(final, "Everything is in place."),
    )
    after = {
        "notes.txt": changed,
        "sorted.txt": "".join(sorted(changed.splitlines(keepends=True))),
        "one.txt": 'one "quoted"',
        "two.txt": "two ünï",
    }
    return Scenario(Script(turns), folder, before, after, "Make the colour green and tell me when all is done.", final)
