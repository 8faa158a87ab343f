"""What the Messages API demands of a conversation: order of turns, tool calls answered at once, thinking that is its own.

Thinking blocks are checked as preserved thinking does it: genuine, unchanged, and, on models that bind it, produced after the
very `system`, `tools` and messages that stand before it now. `cache_control` and the string form of one text are no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.emulator.models import Model
from tests.emulator.refusal import Refusal, canonical
from tests.emulator.seals import Seals

HIDDEN = ("thinking", "redacted_thinking")


def is_blank(content: Any) -> bool:
    """Content that says nothing: empty, or only white space."""
    return not content or (isinstance(content, str) and not content.strip())


def blocks(content: Any) -> list[Any]:
    """Content as a list of blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def merged(messages: list[Any]) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Turns: consecutive messages of one role joined, each block with its path. System messages end no turn."""
    turns: list[tuple[str, list[tuple[str, Any]]]] = []
    for index, message in enumerate(messages):
        if message["role"] == "system":
            continue
        found = [(f"messages.{index}.content.{n}", block) for n, block in enumerate(blocks(message["content"]))]
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(found)
        else:
            turns.append((message["role"], found))
    return turns


def check_history(body: Mapping[str, Any], model: Model, seals: Seals) -> None:
    """Raises Refusal for the first thing in the conversation that the API would not accept."""
    messages = body["messages"]
    if messages[0]["role"] != "user":
        raise Refusal('messages: first message must use the "user" role')
    last = messages[-1]
    if last["role"] == "assistant" and blocks(last["content"]):
        tail = blocks(last["content"])[-1]
        if tail.get("type") == "text" and tail["text"] != tail["text"].rstrip():
            raise Refusal("messages: final assistant content cannot end with trailing whitespace")
    _pairs(messages)
    _references(body)
    _first_block(body, model)
    _seals(body, model, seals)


def _pairs(messages: list[Any]) -> None:
    """Every tool_use answered first thing in the next user message, by exactly one result; no result without its call."""
    turns = merged(messages)
    seen: set[str] = set()
    for number, (role, found) in enumerate(turns):
        if role == "user":
            before = turns[number - 1][1] if number else []
            _no_strays(found, {b["id"] for _, b in before if b["type"] == "tool_use"})
            continue
        asked = [(path, block["id"]) for path, block in found if block["type"] == "tool_use"]
        for path, tool_id in asked:
            if tool_id in seen:
                raise Refusal(f"{path.rsplit('.', 2)[0]}.content: `tool_use` ids must be unique")
            seen.add(tool_id)
        if not asked:
            continue
        answered = _leading_results(turns[number + 1][1]) if number + 1 < len(turns) else []
        missing = [tool_id for _, tool_id in asked if tool_id not in answered]
        if missing:
            raise Refusal(
                f"{asked[0][0].rsplit('.', 2)[0]}: `tool_use` ids were found without `tool_result` blocks immediately after:"
                f" {', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )


def _leading_results(found: list[tuple[str, Any]]) -> list[str]:
    """Ids of the results that stand before anything else."""
    ids = []
    for _, block in found:
        if block["type"] != "tool_result":
            break
        ids.append(block["tool_use_id"])
    return ids


def _no_strays(found: list[tuple[str, Any]], asked: set[str]) -> None:
    answered: set[str] = set()
    for path, block in found:
        if block["type"] != "tool_result":
            continue
        tool_id = block["tool_use_id"]
        if tool_id not in asked:
            raise Refusal(
                f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {tool_id}. Each `tool_result` block must"
                " have a corresponding `tool_use` block in the previous message."
            )
        if tool_id in answered:
            raise Refusal(
                f"{path.rsplit('.', 1)[0]}: each tool_use must have a single result. Found multiple `tool_result` blocks"
                f" with id: {tool_id}"
            )
        answered.add(tool_id)


def _references(body: Mapping[str, Any]) -> None:
    names = {tool.get("name") for tool in body.get("tools") or ()}
    for _, found in merged(body["messages"]):
        for _, block in found:
            content = block.get("content") if block["type"] == "tool_result" else None
            for part in content if isinstance(content, list) else ():
                if part.get("type") == "tool_reference" and part["tool_name"] not in names:
                    raise Refusal(f"Tool reference '{part['tool_name']}' not found in available tools")


def _first_block(body: Mapping[str, Any], model: Model) -> None:
    """With a thinking budget, the assistant turn that asked for the newest results starts with its thinking."""
    if (body.get("thinking") or {}).get("type") != "enabled":
        return
    turns = merged(body["messages"])
    if len(turns) < 2 or turns[-1][0] != "user" or not any(b["type"] == "tool_result" for _, b in turns[-1][1]):
        return
    path, first = turns[-2][1][0]
    if first["type"] not in HIDDEN:
        raise Refusal(
            f"{path}.type: Expected `thinking` or `redacted_thinking`, but found `{first['type']}`. When `thinking` is enabled,"
            " a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and"
            " `tool_result` blocks). We recommend you include thinking blocks from previous turns. To avoid this requirement,"
            " disable `thinking`. Please consult our documentation at"
            " https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
        )


def _bare(block: Any) -> Any:
    """A block without its cache mark, its own content in list form."""
    bare = {key: value for key, value in block.items() if key != "cache_control"}
    if bare.get("type") == "tool_result":
        bare["content"] = [_bare(part) for part in blocks(bare.get("content") or [])]
        bare.setdefault("is_error", False)
    return bare


def head(body: Mapping[str, Any]) -> bytes:
    """`tools` (but those loaded later) and `system` as the prefix of every thinking block."""
    tools = [_bare(tool) for tool in body.get("tools") or () if not tool.get("defer_loading")]
    return canonical([tools, [_bare(block) for block in blocks(body.get("system") or [])]])


def prefixes(body: Mapping[str, Any]) -> Iterator[tuple[str, Any, bytes]]:
    """(path, thinking block, prefix) for every thinking block; prefixes leave the thinking itself out."""
    so_far: list[Any] = []
    start = head(body)
    for index, message in enumerate(body["messages"]):
        for number, block in enumerate(blocks(message["content"])):
            if block.get("type") in HIDDEN:
                yield f"messages.{index}.content.{number}", block, start + canonical(so_far)
            else:
                so_far.append([message["role"], _bare(block)])


def end_prefix(body: Mapping[str, Any]) -> tuple[bytes, str]:
    """(prefix of what is produced next, signature of the newest thinking block or '')."""
    so_far = [
        [message["role"], _bare(block)]
        for message in body["messages"]
        for block in blocks(message["content"])
        if block.get("type") not in HIDDEN
    ]
    newest = [block for _, block, _ in prefixes(body) if block["type"] == "thinking"]
    return head(body) + canonical(so_far), newest[-1]["signature"] if newest else ""


def _seals(body: Mapping[str, Any], model: Model, seals: Seals) -> None:
    binding = (body.get("thinking") or {}).get("block_binding") or {}
    drops = binding.get("prefix_mismatch_behavior") == "drop_block"
    previous = b""
    for path, block, prefix in prefixes(body):
        if block["type"] == "redacted_thinking":
            if seals.read("", block["data"]) is None:
                raise Refusal(f"{path}: Invalid `data` in `redacted_thinking` block")
            continue
        seal = seals.read(block["thinking"], block["signature"])
        if seal is None:
            raise Refusal(f"{path}: Invalid `signature` in `thinking` block")
        if model.bound_thinking and not drops:
            why = (
                "" if seals.matches(seal, prefix) else " The messages before it differ from those it was created with."
            )
            if previous and seal.previous != previous:
                why = " The `thinking` block that preceded this one when it was created is missing from this request."
            if why:
                raise Refusal(
                    f"{path}: Invalid `signature` in `thinking` block. The block is bound to a different conversation. Remove the"
                    ' block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block". That setting requires the'
                    f" `thinking-binding-controls-2026-08-01` value in the `anthropic-beta` header.{why}"
                )
        previous = seal.mark
