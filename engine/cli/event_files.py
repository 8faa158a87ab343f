"""Events as files for other tools: JSONL, CSV, governance records."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping

from engine.cli.screen import json_text, safe_lines
from engine.store.event import Event
from engine.store.export import export_json
from engine.telemetry.governance import governance_records

CSV_COLUMNS = (
    "id", "timestamp", "client", "clientVersion", "protocol", "sessionId", "agent", "parentAgent", "project", "repoPath",
    "routeClass", "classRule", "requestedModel", "selectedProvider", "selectedModel", "fallbackChain", "status", "httpStatus",
    "errorClass", "stream", "cacheHit", "inputTokens", "outputTokens", "cachedInputTokens", "cacheWriteTokens",
    "reasoningTokens", "costEstimateUsd", "costReportedUsd", "wastedUsd", "estimatedUsd", "costProvenance", "latencyMs", "firstEventMs",
    "stopReason", "losses", "tags", "policy", "keyName",
)  # fmt: skip
"""Columns of a CSV, in their order; new ones go to the end."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _jsonl(event: Event) -> bytes:
    return f"{json_text(export_json(event))}\n".encode()


def _governance(event: Event) -> bytes:
    return "".join(f"{json_text(one)}\n" for one in governance_records(event)).encode()


def _csv(event: Event) -> bytes:
    data = event.to_json()
    return _row([_cell(data.get(name)) for name in CSV_COLUMNS])


def _row(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: names in it come from clients."""
    if isinstance(value, list):
        value = " ".join(map(str, value))
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    text = str(value)
    return safe_lines(f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text)


WRITERS: Mapping[str, Callable[[Event], bytes]] = {"jsonl": _jsonl, "csv": _csv, "governance": _governance}
"""Format → what one event adds to the file."""

HEADS: Mapping[str, bytes] = {"csv": _row(list(CSV_COLUMNS))}
"""What a file of that format begins with."""
