"""Content parts of messages and tool outputs, and the neutral blocks, both ways."""

from __future__ import annotations

from typing import Any

from engine.llm.messages import Block, Document, Image, JsonObject, Opaque, Refusal, Text
from engine.protocols.openai_responses.words import NAME, text

_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})


def read_content(content: Any) -> tuple[Block, ...]:
    """Blocks of a string or a list of parts. Parts that this protocol alone has become `Opaque`; nothing is dropped."""
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        return ()
    return tuple(read_part(part) for part in content if isinstance(part, dict | str))


def read_part(part: JsonObject | str) -> Block:
    """One part. A bare string in a list is text."""
    if isinstance(part, str):
        return Text(part)
    kind = text(part.get("type"))
    if kind in _TEXTS:
        return Text(text(part.get("text")), _rest(part, "text"))
    match kind:
        case "refusal":
            return Refusal(text(part.get("refusal")), _rest(part, "refusal"))
        case "input_image":
            return _image(part)
        case "input_file":
            return _document(part)
    return Opaque(NAME, part)


def read_said(part: JsonObject) -> Text | Refusal | Opaque:
    """One part of an answer's message."""
    block = read_part(part)
    return block if isinstance(block, Text | Refusal | Opaque) else Opaque(NAME, part)


def write_image(image: Image) -> JsonObject:
    """An `input_image` part; `detail` is required by strict servers."""
    url = image.url or f"data:{image.media_type or 'image/png'};base64,{image.data}"
    detail = image.extra.get("detail")
    return {"type": "input_image", "detail": detail if isinstance(detail, str) else "auto", "image_url": url}


def write_document(document: Document, *, own: bool) -> JsonObject | None:
    """An `input_file` or `input_text` part; None for a file that only another protocol's provider holds."""
    if document.text:
        return {
            "type": "input_text",
            "text": f"{document.title}\n\n{document.text}" if document.title else document.text,
        }
    part: JsonObject = {"type": "input_file"}
    if document.url:
        part["file_url"] = document.url
    elif document.data:
        kind = document.media_type or "application/pdf"
        part["filename"] = document.title or "document.pdf"
        part["file_data"] = f"data:{kind};base64,{document.data}"
    elif document.file_id and own:
        part["file_id"] = document.file_id
    else:
        return None
    return part


def _image(part: JsonObject) -> Block:
    url = part.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")  # the Chat form
    if not isinstance(url, str) or not url:
        return Opaque(NAME, part)
    extra = _rest(part, "image_url")
    media_type, data = _data_url(url)
    return Image(media_type=media_type, data=data, extra=extra) if data else Image(url=url, extra=extra)


def _document(part: JsonObject) -> Block:
    title = text(part.get("filename"))
    extra = {k: v for k, v in _rest(part, "filename").items() if k not in ("file_data", "file_url", "file_id")}
    if given := text(part.get("file_data")):
        media_type, data = _data_url(given)
        return Document(media_type=media_type or "application/pdf", data=data or given, title=title, extra=extra)
    if url := text(part.get("file_url")):
        return Document(url=url, title=title, extra=extra)
    if file_id := text(part.get("file_id")):
        return Document(file_id=file_id, title=title, extra=extra)
    return Opaque(NAME, part)


def _data_url(url: str) -> tuple[str, str]:
    """(media type, base64) of a data URL, empty texts for anything else."""
    if not url.startswith("data:"):
        return "", ""
    head, comma, data = url[5:].partition(",")
    media_type, _, encoding = head.partition(";")
    return (media_type, data) if comma and encoding.endswith("base64") else ("", "")


def _rest(part: JsonObject, held: str) -> JsonObject:
    return {name: value for name, value in part.items() if name not in ("type", held) and value not in (None, [])}
