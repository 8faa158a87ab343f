"""Content parts of messages, read: text, images, files, refusals, thinking, and what only this protocol understands."""

from __future__ import annotations

from typing import Any

from engine.llm.errors import ClientError
from engine.llm.messages import Block, Document, Image, JsonObject, Opaque, Refusal, Text, Thinking
from engine.protocols.openai_chat.fields import NAME


def entries(value: Any) -> list[JsonObject]:
    """The objects in a list; nothing for anything else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def read_content(content: Any, field: str) -> tuple[Block, ...]:
    """Blocks of a `content`: text, a list of parts, or nothing. Raises ClientError for anything else."""
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise ClientError("content must be text or a list of parts", field=field)
    blocks: list[Block] = []
    for position, part in enumerate(content):
        if isinstance(part, str):
            blocks.append(Text(part))
        elif isinstance(part, dict):
            blocks.append(read_part(part, f"{field}[{position}]"))
        else:
            raise ClientError("a content part must be an object", field=f"{field}[{position}]")
    return tuple(blocks)


def read_part(part: JsonObject, field: str = "") -> Block:
    """One content part. An unknown one is kept whole. Raises ClientError for a known one without its value."""
    match part.get("type"):
        case "text" | "input_text" | "output_text" if isinstance(text := part.get("text"), str):
            return Text(text, extra=_beside(part, "text"))
        case "image_url":
            return _image(part, field)
        case "file" if isinstance(file := part.get("file"), dict):
            return _document(file, part)
        case "refusal" if isinstance(text := part.get("refusal"), str):
            return Refusal(text, extra=_beside(part, "refusal"))
        case "thinking":
            return Thinking(thinking_text(part), origin=NAME)
        case "text":
            raise ClientError("a text part needs a text", field=f"{field}.text")
    return Opaque(NAME, part)


def thinking_text(part: JsonObject) -> str:
    """The text of a `thinking` part: a string, or a list of text parts."""
    held = part.get("thinking")
    if isinstance(held, str):
        return held
    texts = [part.get("text") for part in entries(held)]
    return "".join(text for text in texts if isinstance(text, str))


def split_data_url(url: str) -> tuple[str, str] | None:
    """(media type, base64 data) of a base64 data URL, None for any other URL."""
    if not url.startswith("data:"):
        return None
    head, comma, data = url[5:].partition(",")
    media_type, *parameters = head.split(";")
    if not comma or "base64" not in parameters:
        return None
    return media_type, data


def _image(part: JsonObject, field: str) -> Image:
    held = part.get("image_url")
    url = held.get("url") if isinstance(held, dict) else held
    if not isinstance(url, str) or not url:
        raise ClientError("an image needs a URL", field=f"{field}.image_url.url")
    extra = _beside(part, "image_url")
    if isinstance(held, dict):
        extra |= {key: value for key, value in held.items() if key != "url" and value is not None}
    if (split := split_data_url(url)) is not None:
        return Image(media_type=split[0], data=split[1], extra=extra)
    return Image(url=url, extra=extra)


def _document(file: JsonObject, part: JsonObject) -> Document:
    extra = _beside(part, "file")
    title = str(file.get("filename") or "")
    if file_id := file.get("file_id"):
        return Document(file_id=str(file_id), title=title, extra=extra)
    data = str(file.get("file_data") or "")
    if (split := split_data_url(data)) is not None:
        return Document(media_type=split[0], data=split[1], title=title, extra=extra)
    if data.startswith(("http://", "https://")):
        return Document(url=data, title=title, extra=extra)
    return Document(media_type="application/pdf", data=data, title=title, extra=extra)


def _beside(part: JsonObject, value: str) -> dict[str, Any]:
    if len(part) == 2:
        return {}
    return {key: held for key, held in part.items() if key not in {"type", value}}
