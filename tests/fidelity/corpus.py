"""The recorded exchanges as the tests use them: where they are, what of them is an answer, an error, a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

PROTOCOLS = ("anthropic-messages", "openai-chat", "openai-responses")
FOLDER = Path(__file__).resolve().parents[3] / "shared"


@dataclass(slots=True, frozen=True)
class Exchange:
    """One recorded exchange."""

    name: str
    protocol: str
    provider: str
    capture: str
    status: int
    headers: dict[str, str]
    raw: bytes
    """The answer's body; for a recorder that kept parsed JSON, that JSON written anew."""
    streamed: bool
    request: dict[str, Any] | None
    model: str

    @property
    def short(self) -> str:
        """Enough of the name to find the file."""
        return ".".join(self.name.split(".")[1:])


def exchanges(protocol: str, *, folder: Path = FOLDER) -> Iterator[Exchange]:
    """Every recorded exchange of `protocol` in a fixed order."""
    for path in sorted(folder.glob(f"corpus/*/{protocol}.*.json")):
        value = orjson.loads(path.read_bytes())
        if value["protocol"] != protocol:
            continue
        yield _read(path, value)


def _read(path: Path, value: dict[str, Any]) -> Exchange:
    response = value["response"]
    raw = response["raw"].encode() if "raw" in response else orjson.dumps(response["body"])
    body = value["request"].get("body")
    return Exchange(
        path.name,
        value["protocol"],
        value["provider"],
        value["capture"],
        response["status"],
        {name.lower(): str(held) for name, held in (response.get("headers") or {}).items()},
        raw,
        value["stream"] and "raw" in response,
        body if isinstance(body, dict) else None,
        str(value.get("model") or ""),
    )


def others(*, folder: Path = FOLDER) -> Iterator[tuple[Exchange, str]]:
    """(exchange, path it was sent to) of everything recorded that is no request of a model in one of the three protocols."""
    for path in sorted(folder.glob("corpus/*/*.json")):
        kind = path.name.partition(".")[0]
        if kind in PROTOCOLS:
            continue
        value = orjson.loads(path.read_bytes())
        yield _read(path, value), str(value["request"].get("path") or "")


def captures(*, folder: Path = FOLDER) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, protocol, body) of every request that a real client sent in one of the three protocols."""
    ends = {"/messages": PROTOCOLS[0], "/chat/completions": PROTOCOLS[1], "/responses": PROTOCOLS[2]}
    for path in sorted(folder.glob("captures/*/*/*.json")):
        value = orjson.loads(path.read_bytes())
        sent_to = str(value.get("path", "")).partition("?")[0]
        protocol = next((name for end, name in ends.items() if sent_to.endswith(end)), "")
        if protocol and isinstance(value.get("body"), dict) and value.get("method", "POST") == "POST":
            yield "/".join(path.parts[-3:]), protocol, value["body"]
