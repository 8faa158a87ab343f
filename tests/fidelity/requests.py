"""Requests on their way to providers of the other protocols: accepted, and nothing lost that no loss code declares."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.errors import ClientError
from engine.llm.losses import lost
from engine.llm.protocol import Target
from engine.protocols.registry import PROTOCOLS
from tests.emulator import anthropic_rules, chat_profiles, chat_rules, responses_rules
from tests.emulator import models as emulated
from tests.emulator.refusal import Refusal
from tests.emulator.seals import Seals
from tests.fidelity.asking import Asked, Asking, Result, Tool, Turn, calls, clean, plain
from tests.fidelity.read import asked_chat, asked_messages, asked_responses

MESSAGES, CHAT, RESPONSES = "anthropic-messages", "openai-chat", "openai-responses"
READ: dict[str, Any] = {MESSAGES: asked_messages.asked, CHAT: asked_chat.asked, RESPONSES: asked_responses.asked}
ABLE = Model(
    "p",
    "m",
    tools=True,
    vision=True,
    documents=True,
    reasoning=True,
    structured=True,
    context=10**7,
    max_output=128_000,
)
OPEN = emulated.Model(context=10**8, max_output=128_000, thinking=emulated.EITHER, prefill=True)
"""What the emulator lets its model do: everything, so that its rules judge the form of a request, not the model."""
EFFORTS = {MESSAGES: emulated.FIVE}
EVERY_EFFORT = ("none", "minimal", *emulated.FIVE)


FILLER = ("Expected a base64-encoded data URL", "Expected a valid URL")
"""Refusals that are right: the captures hold filler instead of images."""


@dataclass(slots=True)
class Tally:
    """How requests of one direction fared."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    """One line for each undeclared difference, undeclared loss and refusal."""
    losses: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    """Requests that the gateway itself refuses as none."""
    lossy: int = 0
    """Requests of which the encoder named a loss."""

    @property
    def passed(self) -> int:
        """Requests without a complaint."""
        return self.tried - len({line.partition("  ")[0] for line in self.wrong})


def target(protocol: str, model: Model = ABLE, quirks: Quirks | None = None) -> Target:
    """A provider of `protocol` without peculiarities."""
    return Target(Provider("p", {protocol: "http://127.0.0.1"}), model, protocol, quirks or Quirks())


def judge(name: str, body: dict[str, Any], client: str, wire: str, tally: Tally) -> None:
    """Sends one request of `client` to `wire` and counts what comes of it."""
    tally.tried += 1
    try:
        found = PROTOCOLS[client].survey(body)
        request = PROTOCOLS[client].decode_request(body)
        sent, losses = PROTOCOLS[wire].encode_request(request, target(wire))
    except ClientError as error:
        tally.refused.append(f"{name}  {error.message}")
        return
    tally.losses.update(losses)
    tally.lossy += bool(losses)
    declared = lost(found.requires, wire)
    if hidden := set(losses) - declared:
        tally.wrong.append(f"{name}  losses that the survey did not announce: {sorted(hidden)}")
    try:
        check(sent, wire)
    except Refusal as refusal:
        if not any(text in refusal.message for text in FILLER):
            tally.wrong.append(f"{name}  refused: {refusal}")
    expected, got = READ[client](body), READ[wire](sent)
    for line, codes in differences(expected, got, client, wire):
        if not codes & {*losses, *declared}:
            tally.wrong.append(f"{name}  {line} (none of {sorted(codes)} is declared)")


def check(body: dict[str, Any], wire: str) -> None:
    """The strict emulator's verdict. Raises Refusal."""
    able = replace(OPEN, efforts=EFFORTS.get(wire, EVERY_EFFORT), always_thinks=wire != MESSAGES)
    models = {body["model"]: able}
    match wire:
        case "anthropic-messages":
            anthropic_rules.check(body, anthropic_rules.Context(models, Seals()))
        case "openai-responses":
            responses_rules.check(body, responses_rules.Context(models, Seals(), responses_rules.Stored()))
        case _:
            chat_rules.check(body, chat_rules.Context(chat_profiles.PROFILES["openai"], models))


Difference = tuple[str, set[str]]
"""What differs, and the loss codes that would declare it."""

NOTES = re.compile(
    r"\(Theconversationstartswiththeassistant\.\)|\(Theusersaysnothing\.\)|Thetoolcallwasinterrupted;thereisnoresult\.|\[noresultwasrecorded\]"
    r"|Continueyourlastmessageexactlywhereitstops,withoutrepeatinganyofit\.|\[seethenextusermessage\]"
    r"|\[resultoftoolcall[^\]]*\]|Fromtheresultoftoolcall.*?\):|\[(?:an?|the)(?:image|document)wasleftout:[^\]]*\]"
    r"|\[leftout:[^\]]*\]|\[(?:the)?tool[^\]]*isnowavailable\]|Answerwith(?:one|asingle)JSONobjectandnothingelse.*$"
)
"""What encoders say in place of something, without white space."""


def differences(expected: Asking, got: Asking, client: str, wire: str) -> Iterator[Difference]:
    """Everything that the provider is told otherwise than the client said."""
    if not expected.turns and got.turns:  # nothing but a system text: it is what the user says
        expected = replace(expected, turns=[Turn("user", expected.system)], system="")
    if _said(expected.system) != _said(got.system):
        yield f"system: {expected.system[:80]!r} became {got.system[:80]!r}", {"output_format"}
    yield from _turns(expected, got)
    for number, (before, after) in enumerate(_paired(expected, got)):
        found = _call(before, after, wire, opaque=bool(expected.other))
        yield from ((f"calls[{number}] {line}", codes) for line, codes in found)
    if any(expected.state) and expected.state != got.state:
        yield "sealed reasoning is gone", {"thinking.signature"}
    elif any(turn.reasoning.strip() for turn in expected.turns) and not any(turn.reasoning for turn in got.turns):
        yield "reasoning is gone", {"thinking.signature"}
    if expected.marks > got.marks:
        yield f"cache marks: {expected.marks} became {got.marks}", {"cache_control"}
    yield from _tools(expected, got)
    choosing = () if got.tools or got.provider_tools else ("choice", "tool", "parallel")
    wished = {name: value for name, value in expected.settings.items() if name not in choosing}
    yield from _settings(wished, got.settings, wire)
    for kind in Counter(expected.other) - Counter(got.other):
        if codes := _codes_of(kind):
            yield f"{kind} is gone", codes


def _paired(expected: Asking, got: Asking) -> list[tuple[Asked, Asked]]:
    return list(zip(calls(expected), calls(got), strict=False))


def _said(text: str) -> str:
    bare = plain(text).replace("<system-reminder>", "").replace("</system-reminder>", "")
    return NOTES.sub("", bare)


def _turns(expected: Asking, got: Asking) -> Iterator[Difference]:
    before, after = _joined(expected.turns), _joined(got.turns)
    media = [i for t in expected.turns for i in t.images] + [i for c in calls(expected) for i in _result(c).images]
    kept = [i for t in got.turns for i in t.images] + [i for c in calls(got) for i in _result(c).images]
    if Counter(media) - Counter(kept):
        yield f"{len(media)} images became {len(kept)}", {"image"}
    files = [d for t in expected.turns for d in t.documents] + [
        d for c in calls(expected) for d in _result(c).documents
    ]
    left = [d for t in got.turns for d in t.documents] + [d for c in calls(got) for d in _result(c).documents]
    text = "".join(turn.text for turn in got.turns) + "".join(_result(call).text for call in calls(got))
    if missing := [d for d in files if d not in left and plain(d) not in plain(text)]:
        yield f"{len(missing)} of {len(files)} documents are gone", {"document"}
    if len(list(calls(expected))) != len(list(calls(got))):
        yield f"{len(list(calls(expected)))} calls became {len(list(calls(got)))}", set()
    if [turn.role for turn in before] != [turn.role for turn in after]:
        yield f"turns {_roles(before)} became {_roles(after)}", {"system.mid", "compaction.summary"}
        return
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        said, read = _said(one.text), _said(other.text)
        if said != read and not (files and said in read) and not (files and all(part in read for part in said.split())):
            yield f"turns[{number}] {one.role}: {_excerpt(said, read)}", set()
        if len(one.calls) != len(other.calls):
            yield f"turns[{number}]: {len(one.calls)} calls became {len(other.calls)}", set()


def _joined(turns: list[Turn]) -> list[Turn]:
    """Turns that say something, neighbours of one speaker together; where results stood tells their calls."""
    joined: list[Turn] = []
    for turn in turns:
        if not (_said(turn.text) or turn.calls or turn.images or turn.documents):
            continue
        if not _said(turn.text) and not turn.calls and turn.role == "user" and "Fromtheresult" in plain(turn.text):
            continue  # images of results, which have a message of their own behind them
        if joined and joined[-1].role == turn.role:
            last = joined[-1]
            joined[-1] = Turn(turn.role, last.text + turn.text, last.calls + turn.calls, last.images + turn.images)
        else:
            joined.append(turn)
    return joined


def _roles(turns: list[Turn]) -> str:
    return "".join(turn.role[0] for turn in turns)


def _excerpt(said: str, read: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(said, read, strict=False)) if a != b), min(len(said), len(read)))
    return f"…{said[max(at - 20, 0) : at + 40]!r} became …{read[max(at - 20, 0) : at + 40]!r}"


def _result(call: Asked) -> Result:
    return call.result or Result()


def _call(before: Asked, after: Asked, wire: str, *, opaque: bool) -> Iterator[Difference]:
    """`opaque`: the conversation holds blocks without a counterpart; Chat shows them as text in their result."""
    if clean(before.name) != clean(after.name):
        yield f"{before.name} became {after.name}", {"namespace"}
    held: Any = before.arguments
    if before.kind == "custom" and after.kind == "function":
        held = {"input": held}
    elif not isinstance(held, dict) and before.kind == "function":
        held = {"raw_arguments": held} if wire != RESPONSES else held
    if held != after.arguments:
        yield f"arguments {str(held)[:60]} became {str(after.arguments)[:60]}", set()
    if before.result is None:
        return
    if after.result is None:
        yield "the result is gone", set()
        return
    said, read = _said(before.result.text), _said(after.result.text)
    if before.result.is_error and not after.result.is_error:
        if not read.lower().startswith("error"):
            yield "the error flag is gone", set()
        yield "the error flag is words", {"tool_result.error"}
        read = read if said.lower().startswith("error") else re.sub(r"(?i)^error:?", "", read)
    if said != read and not before.result.documents and not (opaque and said in read):
        yield f"result: {_excerpt(said, read)}", set()
    if before.result.images and not after.result.images:
        yield "images of a result stand elsewhere", {"image.tool_result", "image"}


def _tools(expected: Asking, got: Asking) -> Iterator[Difference]:
    offered = {clean(tool.name): tool for tool in got.tools}
    for tool in expected.tools:
        found = offered.pop(clean(tool.name), None)
        if found is None:
            yield f"tool {tool.name} is gone", {"tool_search"} if tool.deferred else set()
            continue
        if not plain(found.description).startswith(plain(tool.description)):
            yield f"tool {tool.name}: another description", set()
        if tool.kind == "function" and _schema(tool) - _schema(found):
            yield f"tool {tool.name}: parameters {sorted(_schema(tool) - _schema(found))} are gone", set()
        if tool.deferred and not found.deferred:
            yield f"tool {tool.name} is shown at once", {"tool_search"}
    if offered:
        yield f"tools nobody offered: {sorted(offered)}", set()
    for kind in Counter(expected.provider_tools) - Counter(got.provider_tools):
        code = next((c for c in ("web_search", "tool_search") if kind.startswith(c)), "server_tool")
        yield f"provider's tool {kind} is gone", {code, "container"} if kind.startswith("mcp") else {code}


def _schema(tool: Tool) -> set[str]:
    """Every property of a tool's parameters with its schema, as text."""
    held = tool.schema if isinstance(tool.schema, dict) else {}
    found = {f"{name}: {value}" for name, value in (held.get("properties") or {}).items()}
    found |= {f"required {name}" for name in held.get("required") or ()}
    for word in ("anyOf", "oneOf", "allOf"):
        for branch in held.get(word) or ():
            found |= {f"{name}: {value}" for name, value in (branch.get("properties") or {}).items()}
    return found


CODES: dict[str, set[str]] = {
    "max_output": {"max_output_tokens"},
    "temperature": {"sampling", "sampling.range"},
    "top_p": {"sampling", "sampling.range"},
    "top_k": {"top_k"},
    "stop": {"stop", "stop.form"},
    "seed": {"seed"},
    "logprobs": {"logprobs"},
    "effort": {"effort", "effort.word", "unknown_field"},
    "budget": {"thinking.budget"},
    "off": {"thinking.off"},
    "choice": {"forced_tool", "compaction.summary"},
    "tool": {"forced_tool"},
    "parallel": {"parallel_tools", "compaction.summary"},
    "schema": {"output_format"},
    "json": {"output_format", "output_format.json"},
    "user": {"user", "user.long"},
    "stream": set(),
    "tier": {"service_tier"},
}
"""Setting → codes that declare its loss. A cache key is no setting: it only helps a provider to find its own cache."""


def _settings(before: dict[str, Any], after: dict[str, Any], wire: str) -> Iterator[Difference]:
    for name, codes in CODES.items():
        asked, said = before.get(name), after.get(name)
        if asked is None or asked == said or (name == "choice" and asked == "auto" and said is None):
            continue
        if name == "max_output" and wire == RESPONSES and asked < 16 == said:
            continue  # the least that the API takes
        if name == "tool" and clean(str(asked)) == clean(str(said)):
            continue
        if name == "parallel" and before.get("choice") == "none":
            continue  # of no call at all, none is parallel
        if name == "effort" and asked == "none" and said is None:
            continue  # see `off`
        yield f"{name}: {str(asked)[:60]} became {str(said)[:60]}", codes


HARMLESS = {
    "metadata", "store", "include", "client_metadata", "stream_options", "prompt_cache_retention", "prompt_cache_options",
    "truncation", "max_tool_calls", "betas", "inference_geo", "diagnostics", "prediction",
}  # fmt: skip
"""Fields that ask the provider's own service for something beside the answer (keeping it, telling more of it, billing): another
provider's answer is the same without them."""
FIELDS: dict[str, set[str]] = {
    "context_management": {"context_management"},
    "container": {"container"},
    "mcp_servers": {"container"},
    "previous_response_id": {"previous_response"},
    "conversation": {"previous_response"},
    "background": {"background"},
    "prompt": {"container"},
    "n": {"choices"},
    "modalities": {"audio", "unknown_field"},
    "audio": {"audio"},
    "web_search_options": {"web_search"},
    "frequency_penalty": {"sampling.bias"},
    "presence_penalty": {"sampling.bias"},
    "logit_bias": {"sampling.bias"},
    "verbosity": {"verbosity"},
}
KINDS: dict[str, set[str]] = {
    "input_audio": {"audio"},
    "compaction": {"compaction"},
    "compaction_trigger": {"compaction.summary"},
    "compaction_summary": {"compaction"},
    "item_reference": {"previous_response"},
    "tool_reference": {"tool_search"},
    "tool_addition": {"tool_search"},
    "tool_search_call": {"tool_search"},
    "tool_search_output": {"tool_search"},
    "tool_search_tool_result": {"tool_search"},
    "image": {"container"},
    "document": {"container"},
    "file": {"container", "document"},
    "input_image": {"container"},
    "input_file": {"container"},
    "container_upload": {"container"},
}


def _codes_of(kind: str) -> set[str]:
    """Codes that declare the loss of a block, an item or a field; none for what nobody misses."""
    name = kind.removeprefix("field ")
    if kind != name:
        return set() if name in HARMLESS else FIELDS.get(name, {"unknown_field"})
    known = {"server_tool.result", "unknown_block"} if kind.endswith(("_call", "_output", "_result", "_use")) else set()
    return KINDS.get(kind) or known or {"unknown_block", "server_tool.result"}
