"""Answers in Chat Completions, as its many servers speak it, read plainly.

Reasoning is taken from the first of its names that holds text. Output counts everything generated: where the total exceeds
prompt and completion, the rest was thought.
"""

from __future__ import annotations

from typing import Any

import orjson

from tests.fidelity.meaning import Answer, Call, arguments, known, within
from tests.fidelity.read.events import objects

STOPS = {"length": "max_tokens", "max_tokens": "max_tokens", "content_filter": "content_filter"}
SEALED = ("signature", "data")


def whole(body: Any) -> Answer:
    """A whole answer: the first choice."""
    if isinstance(body, list):
        body = body[0]
    choices = body.get("choices") or [{}]
    if body.get("error") or choices[0].get("error") or not isinstance(choices[0].get("message"), dict):
        return Answer(
            error=str(within(body, "error", "message") or within(choices[0], "error", "message") or "no message")
        )
    answer = Answer()
    message = choices[0]["message"]
    _reasoning(answer, message)
    _content(answer, message.get("content"), told=bool(answer.reasoning))
    if message.get("refusal"):
        answer.refusal = message["refusal"]
        answer.saw("t")
    calls = [c for c in message.get("tool_calls") or () if c]
    legacy = message.get("function_call")
    for call in calls or ([{"id": "legacy", "function": legacy}] if within(legacy, "name") else ()):
        _call(answer, call)
    _beside(answer, message, body)
    answer.stop = _stop(answer, choices[0].get("finish_reason"))
    return answer


def stream(raw: str) -> Answer:
    """A streamed answer, put together as a client would: the deltas of the first choice in their order."""
    message: dict[str, Any] = {"reasoning_details": []}
    calls: list[dict[str, Any]] = []
    parts: list[Any] = []
    finish, held, ended = None, None, "[DONE]" in raw[-200:]
    places = Answer()
    for name, chunk in objects(raw):
        choice = next((c for c in chunk.get("choices") or () if not c.get("index")), {})
        if name == "error" or chunk.get("error") or choice.get("error"):
            return Answer(error=str(within(chunk, "error", "message") or chunk.get("message") or "error"))
        held = chunk.get("usage") or within(chunk, "x_groq", "usage") or held
        if choice.get("finish_reason"):
            finish, ended = choice["finish_reason"], True
        delta = choice.get("delta") or {}
        _places(places, delta)
        parts.append(delta.get("content"))
        for key in ("reasoning_content", "reasoning", "refusal"):
            if isinstance(delta.get(key), str):
                message[key] = message.get(key, "") + delta[key]
        message["reasoning_details"] += delta.get("reasoning_details") or ()
        for key in ("annotations", "images"):
            message[key] = [*message.get(key, ()), *(delta.get(key) or ())]
        if legacy := delta.get("function_call"):
            _grow(calls, {"index": 0, "id": "legacy", "function": legacy})
        for call in delta.get("tool_calls") or ():
            _grow(calls, call)
    if not ended:
        return Answer(error="no end")
    message["content"] = [p for part in parts for p in (part if isinstance(part, list) else [part])]
    message["tool_calls"] = calls
    answer = whole({"choices": [{"message": message, "finish_reason": finish}], "usage": held})
    if not answer.error:
        answer.order = places.order
    return answer


def _places(places: Answer, delta: dict[str, Any]) -> None:
    """Notes in which order a stream's pieces began. A piece that goes on in between is not counted again."""
    said = Answer()
    _reasoning(said, delta)
    _content(said, delta.get("content"), told=bool(said.reasoning))
    if delta.get("refusal"):
        said.saw("t")
    if any((call.get("function") or call.get("custom") or {}).get("name") for call in delta.get("tool_calls") or ()):
        said.saw("c")
    for kind in said.order:
        places.saw(kind)


def _grow(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """A call's index tells it apart; without one a name begins a new call."""
    function = piece.get("function") or {}
    index = piece.get("index")
    begins = function.get("name") and (index is None or not calls)
    same = [c for c in calls if c["index"] == index and not (piece.get("id") and c["id"] and c["id"] != piece["id"])]
    if begins or not same:
        calls.append({"index": index, "id": piece.get("id") or "", "function": {"name": "", "arguments": ""}})
        same = calls[-1:]
    call = same[-1]
    call["id"] = call["id"] or piece.get("id") or ""
    call["function"]["name"] = call["function"]["name"] or function.get("name") or ""
    text = function.get("arguments") or ""
    call["function"]["arguments"] += text if isinstance(text, str) else orjson.dumps(text).decode()
    if piece.get("extra_content"):
        call["extra_content"] = piece["extra_content"]
    if piece.get("custom"):
        custom = call.setdefault("custom", {"name": "", "input": ""})
        custom["name"] = custom["name"] or piece["custom"].get("name") or ""
        custom["input"] += piece["custom"].get("input") or ""


def _reasoning(answer: Answer, message: dict[str, Any]) -> None:
    details = message.get("reasoning_details") or ()
    shown = "".join(d.get("text") or d.get("summary") or "" for d in details)
    texts = (message.get("reasoning_content"), message.get("reasoning"), shown)
    answer.reasoning = next((t for t in texts if isinstance(t, str) and t), "")
    if answer.reasoning.strip():
        answer.saw("r")
    answer.state += [str(d[key]) for d in details for key in SEALED if d.get(key)]
    if sealed := _signature(message.get("extra_content")):
        answer.state.append(sealed)


def _content(answer: Answer, content: Any, *, told: bool) -> None:
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and part.get("type") == "thinking":
            held = part["thinking"]
            said = held if isinstance(held, str) else "".join(p.get("text") or "" for p in held)
            if said and not told:
                answer.reasoning += said
                answer.saw("r")
            continue
        if isinstance(part, dict) and part.get("type") != "text":
            answer.other.append(str(part.get("type")))
            continue
        said = part.get("text") if isinstance(part, dict) else part
        if said:
            answer.text += said
            answer.saw("t")


def _call(answer: Answer, call: dict[str, Any]) -> None:
    if within(custom := call.get("custom"), "name"):
        answer.calls.append(Call(call.get("id") or "", custom["name"], custom.get("input") or "", "custom"))
    else:
        function = call["function"]
        said = arguments(function.get("arguments"))
        answer.calls.append(Call(call.get("id") or "", function["name"], said))
    answer.saw("c")
    if sealed := _signature(call.get("extra_content")):
        answer.state.append(sealed)


def _beside(answer: Answer, message: dict[str, Any], body: dict[str, Any]) -> None:
    for note in message.get("annotations") or ():
        answer.sources.append(str(within(note, "url_citation", "url") or note.get("url") or f"file {note.get('type')}"))
    answer.other += ["image" for _ in message.get("images") or ()]
    if any((message.get("audio") or {}).values()):
        answer.other.append("audio")
    answer.usage = usage(body.get("usage") or within(body, "x_groq", "usage"))


def _signature(extra: Any) -> str:
    return str(within(extra, "google", "thought_signature") or "")


def _stop(answer: Answer, finish: Any) -> str:
    if (word := STOPS.get(str(finish).lower())) is not None:
        return word
    if answer.calls:
        return "tool_use"
    return "refusal" if answer.refusal else "end"


def usage(value: Any) -> dict[str, int]:
    """Token counts."""
    held = value or {}
    prompt, completion, total = (held.get(f"{name}_tokens") for name in ("prompt", "completion", "total"))
    output = completion
    thought = within(held, "completion_tokens_details", "reasoning_tokens")
    if None not in (prompt, completion, total) and (beyond := total - prompt - completion) > 0:
        if beyond == within(held, "prompt_tokens_details", "audio_tokens"):
            prompt += beyond
        elif beyond == thought or thought is None:
            output = completion + beyond
    hits = (held.get(name) for name in ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"))
    cached = within(held, "prompt_tokens_details", "cached_tokens")
    cached = cached if cached is not None else next((hit for hit in hits if hit is not None), None)
    return known(
        input=prompt,
        output=output,
        cached=min(cached, prompt) if cached is not None and prompt is not None else cached,
        written=within(held, "prompt_tokens_details", "cache_write_tokens"),
        reasoning=min(thought, output) if thought and output is not None else thought,
    )
