"""No name drives a terminal: whatever a client, a provider or a file calls itself, no command prints its control characters.

JSON is no exception: it escapes C0 by itself, but not DEL, C1 and the characters that turn the direction of text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import yaml
from click.testing import Result

from engine.cli import COMMANDS
from engine.store.ledger import Ledger
from tests.store.builders import full

Run = Callable[..., Result]
HOSTILE = "evil\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\x7f\u202eadmin"

FORMS = {
    "run": [("--policy", "HOSTILE", "--port", "0"), ("--host", HOSTILE)],
    "check": [("FILE",), ("FILE", "--format", "json"), ("FILE", "--format", "sarif"), ("FILE", "--format", "github"),
              ("FILE", "--format", "junit"), ("HOSTILE",)],
    "test": [("TESTS",), ("TESTS", "--format", "json"), ("TESTS", "--format", "junit"), ("HOSTILE",)],
    "policy": [("show", "FILE"), ("show", "GOOD"), ("show", "GOOD", "--origin"), ("losses", "--json"), ("schema", "HOSTILE")],
    "explain": [("ID",), ("ID", "--json"), ("ID", "--against", "strict"), ("ID", "--policy", "GOOD"), ("HOSTILE",)],
    "dry-run": [("default",), ("GOOD",), ("GOOD", "--json"), ("HOSTILE",)],
    "graph": [("GOOD",), ("GOOD", "--format", "svg"), ("GOOD", "--format", "dot"), ("GOOD", "--format", "mermaid"),
              ("GOOD", "--event", "ID"), ("HOSTILE",)],
    "setup": [("HOSTILE",)],
    "models": [("--policy", "GOOD", "--all"), ("--policy", "GOOD", "--all", "--json"), ("--policy", "HOSTILE")],
    "probe": [("HOSTILE",)],
    "providers": [("--policy", "GOOD", "--all"), ("--policy", "GOOD", "--all", "--json")],
    "events": [(), ("--json",), ("ID",), ("ID", "--json"), ("violations",), ("violations", "--json"), ("export",),
               ("export", "--format", "csv"), ("export", "--format", "governance"), ("HOSTILE",), ("--client", "HOSTILE")],
    "cost": [(), ("--json",), *(("--by", by, *more) for by in ("project", "client", "session", "model", "provider", "key")
             for more in ((), ("--json",))), ("--savings",), ("--savings", "--json")],
    "budgets": [("--policy", "GOOD"), ("--policy", "GOOD", "--json")],
    "trace": [(), ("list",), ("list", "--json"), ("show", "ID"), ("show", "ID", "--json"), ("show", "HOSTILE"), ("delete", "HOSTILE")],
    "sessions": [(), ("--json",), ("HOSTILE",), ("HOSTILE", "--json")],
    "top": [("--once",), ("--json",)],
    "cache": [(), ("--json",), ("clear",)],
    "shadow": [(), ("--json",)],
    "key": [("--name", "HOSTILE")],
}  # fmt: skip
"""Command → the ways in which it prints what others have named."""

QUIET = {"budgets", "cache", "key", "policy", "top", "trace"}
"""Commands whose forms here print no such name, or too old an event."""

NAME, MODEL = json.dumps(HOSTILE), json.dumps(f"mine/{HOSTILE}")

POLICY = f"""
version: 1
name: {NAME}
extends: [default]
providers:
  mine: {{protocol: openai-chat, base_url: "http://127.0.0.1:9/v1", auth: none, description: {NAME}}}
models:
  {MODEL}: {{tools: true, streaming: true, context: 1000, max_output: 100}}
routes: {{cheap_edit: [{MODEL}, requested]}}
gate:
  deny: [{{id: no, when: "request.tools > 1000", message: {NAME}}}]
"""

BROKEN = f"""
version: 1
{NAME}: 1
name: [{NAME}]
routes: {{cheap_edit: [{NAME}]}}
classify: [{{id: {NAME}, class: {NAME}, when: {NAME}}}]
"""

TESTS = f"""
policy: good.yaml
tests:
  - {{name: {NAME}, facts: {{client: {{name: {NAME}}}}}, expect: {{class: {NAME}}}}}
"""


@pytest.fixture
def hostile(tmp_path: Path, state: Path) -> dict[str, str]:
    """A ledger as an older gateway might have written it, a trace, and policies, all with such names; what stands for them."""
    folder = tmp_path / "hostile"
    ledger, traces = Ledger(folder / "ledger.sqlite"), folder / "traces"

    async def fill() -> None:
        recorded = Ledger(state / "ledger.sqlite")
        recorded.start()
        (facts, decision) = next((e.facts, e.decision) for e in recorded.recent(20) if e.facts)
        recorded.close()
        ledger.start()
        violation = {"kind": "denied", "rule": HOSTILE, "reason": "GATE_DENY", "detail": HOSTILE, "tags": [HOSTILE]}
        said = {**facts, "client": {**facts["client"], "version": HOSTILE, "project": HOSTILE}}
        made = replace(
            full(), client=HOSTILE, session_id=HOSTILE, project=HOSTILE, selected_model=HOSTILE, requested_model=HOSTILE,
            selected_provider=HOSTILE, error_class=HOSTILE, agent=HOSTILE, route_class=HOSTILE, policy=HOSTILE,
            key_name=HOSTILE, stop_reason=HOSTILE, client_version=HOSTILE, repo_path=HOSTILE, budgets=(HOSTILE,),
            violations=(violation,), workflow={"turn": 1, "results": [{"tool": HOSTILE, "ok": False}]},
            facts=said, decision=decision, shadow={"policy": HOSTILE, "change": "model", "model": HOSTILE},
        )  # fmt: skip
        await ledger.complete(made)
        await asyncio.to_thread(ledger.close)

    asyncio.run(fill())
    traces.mkdir()
    line = {"format_version": 1, **full().to_json(), "client": HOSTILE}
    line["trace"] = {"request": {"headers": {"user-agent": HOSTILE}, "body": HOSTILE}, "answer": {"body": HOSTILE}}
    (traces / f"{full().id}.json").write_bytes(orjson.dumps(line))
    files = {"GOOD": "good.yaml", "FILE": "broken.yaml", "TESTS": "good.test.yaml"}
    for name, text in (("GOOD", POLICY), ("FILE", BROKEN), ("TESTS", TESTS)):
        (tmp_path / files[name]).write_text(text)
        yaml.safe_load(text)
    return {"HOSTILE": HOSTILE, "ID": full().id, "STATE": str(folder), **files}


def controls(text: str) -> list[str]:
    return [c for c in text if (c < " " and c != "\n") or c in "\x7f\u202e" or "\x80" <= c <= "\x9f"]


def test_every_command_is_asked() -> None:
    """A new command has its forms here; the demo has no names but its own."""
    assert set(FORMS) == set(COMMANDS) - {"demo"}


@pytest.mark.parametrize("command", FORMS)
def test_no_name_drives_the_terminal(
    run: Run, hostile: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In text, in JSON and in errors; what can be said of the name is said."""
    monkeypatch.setenv("SBGW_STATE_DIR", hostile["STATE"])
    shown = 0
    for words in FORMS[command]:
        asked = [hostile.get(word, word) for word in words]
        result = run(command, *asked)
        assert controls(result.output) == [], (words, result.output)
        assert "Traceback" not in result.output
        shown += "evil" in result.output
    assert shown or command in QUIET, "nothing hostile was printed at all"


def test_json_reads_the_same(run: Run, hostile: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Escaped, not replaced: another program gets the name as it is."""
    monkeypatch.setenv("SBGW_STATE_DIR", hostile["STATE"])
    assert orjson.loads(run("events", "--json").output)["client"] == HOSTILE
    assert orjson.loads(run("events", "export").stdout)["client"] == HOSTILE
