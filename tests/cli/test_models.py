"""`sbgw models`: the rows, what providers list, and rows from that; asked of servers on loopback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
import yaml
from click import unstyle
from click.testing import CliRunner, Result

from engine.cli import cli
from engine.cli.announce import screen
from engine.gateway import Gateway
from engine.policy.endings import ending, endings
from engine.policy.load import check_text, load_text
from tests.emulator import Emulator
from tests.spine import Behind
from tests.spine import policy as policy_of

KEY = "sk-canary-list-key-1234"
OPENAI = {
    "object": "list",
    "data": [{"id": "gpt-known", "object": "model"}, {"id": "gpt-new"}, {"id": "text-embedding-9"}],
}
OPENROUTER = {
    "data": [
        {
            "id": "acme/rocket:free",
            "context_length": 32000,
            "supported_parameters": ["tools"],
            "architecture": {"input_modalities": ["text", "image"]},
            "top_provider": {"max_completion_tokens": 2000},
        }
    ]
}
OLLAMA = {"models": [{"name": "qwen3:30b", "model": "qwen3:30b", "capabilities": ["completion", "tools"]}]}


class Lists:
    """A server of lists: path → answer. `asked` holds (path, query, headers)."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        self.port = 0

    def answer(self, path: str, query: dict[str, list[str]], headers: dict[str, str]) -> tuple[int, bytes]:
        self.asked.append((path, query, headers))
        if KEY not in headers.get("authorization", "") + headers.get("x-api-key", "") and path != "/local/api/tags":
            return 401, b'{"error": {"message": "bad key %s"}}' % headers.get("authorization", "").encode()
        found = self.answers.get(path)
        if callable(found):
            found = found(query)
        return (404, b"{}") if found is None else (200, found if isinstance(found, bytes) else orjson.dumps(found))


@contextmanager
def listening(lists: Lists) -> Iterator[Lists]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, sent = lists.answer(parts.path, parse_qs(parts.query), headers)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    lists.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield lists
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def anthropic_pages(query: dict[str, list[str]]) -> Any:
    """Two pages."""
    if query.get("after_id") == ["claude-known"]:
        return {"data": [{"id": "claude-new", "max_input_tokens": 9000, "max_tokens": 900}], "has_more": False}
    return {"data": [{"id": "claude-known", "max_input_tokens": 5000}], "has_more": True, "last_id": "claude-known"}


@pytest.fixture
def lists() -> Iterator[Lists]:
    """All four shapes."""
    lists = Lists()
    lists.answers = {
        "/openai/models": OPENAI,
        "/anthropic/v1/models": anthropic_pages,
        "/router/models": OPENROUTER,
        "/local/api/tags": OLLAMA,
    }
    with listening(lists):
        yield lists


@pytest.fixture
def policy(tmp_path: Path, lists: Lists) -> Path:
    """A policy with those four providers and no other."""
    at = f"http://127.0.0.1:{lists.port}"
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"""
version: 1
name: mine
providers:
  first: {{protocol: openai-chat, base_url: "{at}/openai", api_key_env: LIST_KEY}}
  second: {{protocols: {{anthropic-messages: "{at}/anthropic"}}, auth: x-api-key, api_key_env: LIST_KEY, models_path: /v1/models}}
  router: {{protocol: openai-chat, base_url: "{at}/router", api_key_env: LIST_KEY}}
  local: {{protocol: openai-chat, base_url: "{at}/local", auth: none, local: true, models_path: /api/tags}}
  keyless: {{protocol: openai-chat, base_url: "{at}/keyless", api_key_env: NO_SUCH_KEY}}
models:
  first/gpt-known: {{tools: true, context: 1000}}
  first/gpt-gone: {{tools: true, ends: 2026-01-01}}
  second/claude-known: {{tools: true, context: 4000}}
routes: {{fallback_safe: [first/gpt-known]}}
"""
    )
    return path


def sbgw(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), env={"LIST_KEY": KEY, "NO_SUCH_KEY": ""})


def test_live_shows_the_differences(policy: Path, lists: Lists) -> None:
    """What is listed and unknown, what has a row and is gone, where both differ; page by page, each with its own key."""
    told = orjson.loads(sbgw("models", "--policy", policy, "--live", "--json").stdout)["live"]
    by_name = {one["provider"]: one for one in told}
    assert {"first", "second", "router", "local"} <= set(by_name)
    assert "keyless" not in by_name
    assert [m["model"] for m in by_name["first"]["unknown"]] == ["gpt-new"]
    assert by_name["first"]["gone"] == ["first/gpt-gone"]
    assert by_name["first"]["listed"] == 3
    assert by_name["second"]["unknown"] == [{"model": "claude-new", "context": 9000, "maxOutput": 900}]
    assert by_name["second"]["differences"] == [
        {"model": "claude-known", "field": "context", "row": 4000, "live": 5000}
    ]
    assert by_name["router"]["unknown"][0]["tools"] is True
    assert by_name["local"]["unknown"][0]["model"] == "qwen3:30b"
    asked = {path: headers for path, _, headers in lists.asked}
    assert asked["/anthropic/v1/models"]["x-api-key"] == KEY
    assert "anthropic-version" in asked["/anthropic/v1/models"]
    assert asked["/openai/models"]["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(asked["/local/api/tags"])


def test_live_in_words(policy: Path) -> None:
    """A line for each provider and for each difference."""
    lines = sbgw("models", "--policy", policy, "--live").stdout.splitlines()
    assert "first          3 listed: 1 without a row, 1 rows not listed, 0 different" in lines
    assert "  + gpt-new" in lines
    assert "  - gpt-gone   has a row, is not listed there (ends 2026-01-01)" in lines
    assert "  ~ claude-known   context: the row says 4000, the list 5000" in lines
    assert "  + acme/rocket:free   context 32,000, tools, vision" in lines


def test_a_failing_provider_does_not_hide_the_others(policy: Path, lists: Lists) -> None:
    """It is told, without the key that it quotes."""
    lists.answers["/openai/models"] = b"<html>"
    lists.answers.pop("/router/models")
    result = sbgw("models", "--policy", policy, "--live")
    assert "first          no list: the provider's answer is not JSON" in result.stdout
    assert "router         no list" in result.stdout
    assert "claude-new" in result.stdout
    assert KEY not in result.output


def test_nothing_is_asked_without_live(policy: Path, lists: Lists) -> None:
    """The plain list needs no network."""
    result = sbgw("models", "--policy", policy)
    assert "first/gpt-known" in result.stdout
    assert lists.asked == []


def test_a_model_near_its_end_is_pointed_out(policy: Path) -> None:
    """In `sbgw models`, for every row; in JSON as a field."""
    result = sbgw("models", "--policy", policy)
    assert "first/gpt-gone ended on 2026-01-01" in result.stderr
    rows = {row["model"]: row for row in orjson.loads(sbgw("models", "--policy", policy, "--json").stdout)["models"]}
    assert rows["first/gpt-gone"]["ending"] == "ended on 2026-01-01"
    assert rows["first/gpt-known"]["ending"] == ""


@pytest.mark.parametrize(
    ("provider", "name", "claims"),
    [
        ("first", "gpt-new", {"tools": False}),
        ("second", "claude-new", {"tools": False, "context": 9000, "max_output": 900}),
        ("router", "acme/rocket:free", {"tools": True, "vision": True, "context": 32000, "max_output": 2000}),
        ("local", "qwen3:30b", {"tools": True}),
    ],
)
def test_import_claims_what_the_list_says(policy: Path, provider: str, name: str, claims: dict[str, Any]) -> None:
    """Source and date beside it; nothing is called safe; the file is a policy that others extend."""
    result = sbgw("models", "--policy", policy, "import", provider)
    assert result.exit_code == 0, result.output
    row = dict(yaml.safe_load(result.stdout)["models"][f"{provider}/{name}"])
    assert str(row.pop("as_of")) == date.today().isoformat()
    assert row.pop("source").startswith("http://127.0.0.1")
    assert row == claims


def test_import_leaves_what_is_written_alone(policy: Path, tmp_path: Path) -> None:
    """Comments and changed rows survive a second import, and the file works under the policy."""
    file = tmp_path / "rows.yaml"
    assert "1 of 1 rows are new" in sbgw("models", "--policy", policy, "import", "local", "--write", file).stdout
    text = file.read_text().replace("tools: true", "tools: false").replace("models:", "# mine\nmodels:")
    file.write_text(text)
    assert "0 of 1 rows are new" in sbgw("models", "--policy", policy, "import", "local", "--write", file).stdout
    assert file.read_text() == text
    whole = policy.read_text().replace("name: mine", f"name: mine\nextends: [{orjson.dumps(str(file)).decode()}]")
    assert "local/qwen3:30b" in load_text(whole).models


@pytest.mark.parametrize(
    ("provider", "said"),
    [("frist", "did you mean 'first'"), ("keyless", "no key"), ("router", "did not list its models")],
)
def test_import_says_what_is_wrong(policy: Path, lists: Lists, provider: str, said: str) -> None:
    """A clear line and exit code 3."""
    lists.answers.pop("/router/models")
    result = sbgw("models", "--policy", policy, "import", provider)
    assert result.exit_code == 3
    assert said in result.stderr


ENDING = """
version: 1
name: old
extends: [default]
models:
  groq/old: {tools: true, ends: 2026-12-01}
  groq/late: {tools: true, ends: 2028-12-01}
routes: {cheap_edit: [groq/old, groq/late, requested]}
"""


def test_a_route_to_a_model_near_its_end_is_a_warning() -> None:
    """At its line, by date; far ends and past dates too."""

    def told(today: date) -> list[tuple[str, int]]:
        found = check_text(ENDING.encode(), file="old.yaml", today=today)
        return [(p.message.partition(",")[0], p.span.line) for p in found if p.rule == "route-ends"]

    assert told(date(2026, 9, 1)) == []
    assert told(date(2026, 11, 27)) == [("'groq/old' ends on 2026-12-01", 8)]
    assert told(date(2026, 12, 2)) == [("'groq/old' ended on 2026-12-01", 8)]


def test_what_a_policy_chooses_itself() -> None:
    """Named models and a provider's choice for a class; each once."""
    policy = load_text(
        ENDING.replace("groq/old, groq/late", "groq").replace(
            "tools: true, ends: 2026", "classes: [cheap_edit], ends: 2026"
        )
    )
    assert ending(policy.model("groq/old"), date(2026, 11, 27)) == "ends on 2026-12-01"
    found = {model.ref for model, _ in endings(policy, date(2026, 11, 27))}
    assert "groq/late" not in found


def test_the_start_screen_names_models_near_their_end(tmp_path: Path) -> None:
    """Those that the policy chooses of itself."""
    gateway = Gateway(
        load_text(ENDING.replace("2026-12-01", "2026-01-01")), environ={}, state=None, log=lambda *_, **__: None
    )
    text = screen(gateway, "http://localhost:8787", tmp_path, from_environment=False)
    assert "ending      groq/old ended on 2026-01-01" in text
    assert "groq/late" not in text


async def test_a_strict_vendor_lists_its_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GET has no body, so it names no type of one: the vendor refuses octets. `--policy` may stand behind `import`, too."""
    async with Emulator() as emu:
        monkeypatch.setenv("FIRST_KEY", emu.key)
        file = tmp_path / "mine.yaml"
        row = {"models_path": "/v1/models"}
        file.write_text(policy_of(Behind("first", emu.url, ("anthropic-messages",), row=row)))
        told = await asyncio.to_thread(
            CliRunner().invoke, cli, ["models", "import", "first", "--policy", str(file)], catch_exceptions=False
        )
        assert emu.refused == []
        assert [seen.wire for seen in emu.requests if "content-type" in seen.headers] == []
    rows = yaml.safe_load(told.output)["models"]
    assert rows["first/claude-sonnet-5-5"]["context"] == 1_000_000


def test_eighty_columns_are_enough_for_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal the least telling columns are left out; names may be broken, nothing is cut."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    lines = unstyle(CliRunner().invoke(cli, ["models", "--all"]).stdout).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["model", "ready", "context", "claude", "code", "$/M", "in", "$/M", "out"]
    assert not any("…" in line for line in lines)
