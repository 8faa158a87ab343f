"""`sbgw probe` against well- and ill-behaved models of the emulator, on every wire."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from click.testing import CliRunner, Result

from engine.cli import cli
from engine.policy.load import load_text
from tests.emulator import Action, Emulator, Fault, Raw, Script, Tool, Turn
from tests.emulator.models import Model
from tests.spine import PROTOCOLS, Behind, policy

KEPT = 'if (a["x"] != \'\\t\') {\n\treturn "ünï \\"日本\\" 🟢";\n}\n'
TICKET = {"key": "OPS-4711", "fields": {"priority": "urgent", "assignee": {"name": "Ada", "team": "core"}}}
KEYS = {
    "single": "/srv/app/main.py",
    "streaming": "/srv/app/stream.py",
    "parallel": "/srv/a.txt",
    "nested": "Write down a plan",
    "verbatim": "between the markers",
    "large-schema": "OPS-4711",
    "continuation": "/srv/code.txt",
    "no-invention": "send_email",
    "long-context": "NEEDLE",
}
"""Question → a text that stands in no other."""


def right(agent: str) -> dict[str, Turn]:
    """What a model answers that can do everything."""

    def look(*paths: str) -> tuple[Action, ...]:
        if agent == "codex":
            return tuple(Tool("exec_command", {"cmd": f"cat {path}"}) for path in paths)
        return tuple(Tool("Read", {"file_path": path}) for path in paths)

    words = (("read", "in_progress"), ("edit", "pending"), ("test", "pending"))
    if agent == "codex":
        plan = Tool("update_plan", {"plan": [{"step": word, "status": status} for word, status in words]})
        kept = Tool("write_stdin", {"session_id": 1, "chars": KEPT})
    else:
        todos = [{"content": word, "status": status, "activeForm": f"{word}ing"} for word, status in words]
        plan = Tool("TodoWrite", {"todos": todos})
        kept = Tool("Write", {"file_path": "/srv/kept.txt", "content": KEPT})
    return {
        "single": Turn(calls=look("/srv/app/main.py")),
        "streaming": Turn("I'll look.", calls=look("/srv/app/stream.py")),
        "parallel": Turn(calls=look("/srv/a.txt", "/srv/b.txt")),
        "nested": Turn(calls=(plan,)),
        "verbatim": Turn(calls=(kept,)),
        "large-schema": Turn(calls=(Tool("mcp__tracker__update_ticket", TICKET),)),
        "continuation": Turn("The code word is KESTREL-58."),
        "no-invention": Turn("There is no such tool."),
        "long-context": Turn(calls=look("/srv/needle/7f3a.txt")),
    }


def script(agent: str, **instead: Turn) -> Script:
    """That model, but for some answers."""
    turns = {**right(agent), **{name.replace("_", "-"): turn for name, turn in instead.items()}}
    return Script((Turn("?"),), branches={KEYS[name]: Script((turn,)) for name, turn in turns.items()})


@contextmanager
def running(emulator: Emulator) -> Iterator[Emulator]:
    """The emulator on a loop of its own: the command brings its own, too."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(emulator.__aenter__(), loop).result(20)
        yield emulator
    finally:
        asyncio.run_coroutine_threadsafe(emulator.__aexit__(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Bench:
    """Runs `sbgw probe` on one emulated model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "rows.yaml"

    def probe(
        self, emulator: Emulator, wire: str, *arguments: str, model: dict[str, Any] | None = None, ref: str = "first/m"
    ) -> Result:
        row = {"wildcard": True}
        text = policy(Behind("first", emulator.url, (wire,), row=row, model=model or {}))
        path = self.folder / "mine.yaml"
        path.write_text(text)
        given = ["probe", ref, "--policy", str(path), "--write", str(self.file), "--tokens", "2000", *arguments]
        return CliRunner().invoke(cli, given, env={"FIRST_KEY": emulator.key})

    @property
    def row(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self.file.read_text())["models"]["first/m"])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A folder for the rows."""
    return Bench(tmp_path)


ROWS = {"m": Model(), "other": Model()}


@pytest.mark.parametrize("agent", ["claude-code", "codex"])
@pytest.mark.parametrize("wire", PROTOCOLS)
def test_a_good_model_is_called_safe(bench: Bench, wire: str, agent: str) -> None:
    """Everything right: the row says true, with score and date; the strict vendor has refused nothing."""
    with running(Emulator(script(agent), models=ROWS)) as emu:
        result = bench.probe(emu, wire, "--as", agent, "--json")
    assert result.exit_code == 0, result.output
    told = orjson.loads(result.stdout)
    assert [q["id"] for q in told["questions"] if not q["passed"]] == []
    assert (told["score"], told["safe"], told["protocol"]) == (1.0, True, wire)
    assert emu.refused == []
    assert len(emu.served) == 9
    assert told["inputTokens"] > 2000
    field = {"claude-code": "claude_code_safe", "codex": "codex_safe"}[agent]
    assert bench.row[field] is True
    assert bench.row["probe"][agent]["score"] == 1.0


WRONG = {
    "invents": ({"no_invention": Turn(calls=(Tool("send_email", {"to": "ops@example.com"}),))}, ["no-invention"], False),
    "one-by-one": (
        {"parallel": Turn(calls=(Tool("Read", {"file_path": "/srv/a.txt"}),))}, ["parallel"], "experimental",
    ),
    "bends-text": (
        {"verbatim": Turn(calls=(Tool("Write", {"file_path": "/srv/kept.txt", "content": KEPT.replace("\t", " ")}),))},
        ["verbatim"], "experimental",
    ),
    "broken-json": ({"nested": Turn(calls=(Tool("TodoWrite", Raw('{"todos": [{"content"')),))}, ["nested"], False),
    "needs-repair": (
        {"single": Turn(calls=(Tool("read", {"file_path": "/srv/app/main.py"}),))}, ["single"], False,
    ),
    "wrong-enum": (
        {"large_schema": Turn(calls=(Tool("mcp__tracker__update_ticket", {**TICKET, "fields": {"priority": "ASAP"}}),))},
        ["large-schema"], "experimental",
    ),
    "loops": (
        {"continuation": Turn(calls=(Tool("Read", {"file_path": "/srv/code.txt"}),))}, ["continuation"], False,
    ),
    "only-talks": ({"streaming": Turn("I would look at the file.")}, ["streaming"], False),
    "cut-short": ({"long_context": Turn("I", stop="max_tokens")}, ["long-context"], "experimental"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", WRONG)
def test_a_flaw_is_found(bench: Bench, flaw: str) -> None:
    """Each is told by the question that asks for it, and decides whether an agent may try."""
    instead, failed, safe = WRONG[flaw]
    with running(Emulator(script("claude-code", **instead), models=ROWS)) as emu:
        result = bench.probe(emu, "openai-chat", "--json")
    told = orjson.loads(result.stdout)
    assert [q["id"] for q in told["questions"] if not q["passed"]] == failed
    assert told["safe"] == safe
    assert result.exit_code == (1 if safe is False else 0)
    assert bench.row["claude_code_safe"] == safe
    assert bench.row["probe"]["claude-code"] == {
        "score": 0.88, "date": told["row"]["probe"]["claude-code"]["date"], "exam": 1, "failed": failed
    }  # fmt: skip
    assert bench.row["tools"] == (failed != ["single"])


def test_a_row_counts_where_a_policy_extends_it(bench: Bench) -> None:
    """Over the shipped row field by field, with its score as a fact; nothing changes without `extends`."""
    with running(Emulator(script("claude-code"), models=ROWS)) as emu:
        bench.probe(emu, "openai-chat", model={"claude_code_safe": False, "context": 77_000})
        base = bench.folder / "mine.yaml"
        text = f"""
version: 1
name: after
extends: [{base}, {bench.file}]
gate: {{require: [{{id: proven, require: model.claude_code_score >= 0.9}}]}}
"""
    before, after = load_text(base.read_text()).models["first/m"], load_text(text).models["first/m"]
    assert (before.claude_code_safe, before.claude_code_score) == ("no", -1.0)
    assert (after.claude_code_safe, after.claude_code_score, after.codex_score) == ("yes", 1.0, -1.0)
    assert after.context == 77_000


def test_both_agents_stand_in_one_row(bench: Bench) -> None:
    """A second probe adds to the file and keeps its comments."""
    with running(Emulator(script("claude-code"), models=ROWS)) as emu:
        bench.probe(emu, "openai-chat")
    bench.file.write_text(bench.file.read_text().replace("models:", "# kept\nmodels:"))
    with running(Emulator(script("codex"), models=ROWS)) as emu:
        bench.probe(emu, "openai-chat", "--as", "codex")
    assert set(bench.row["probe"]) == {"claude-code", "codex"}
    assert "# kept" in bench.file.read_text()


def test_a_model_without_a_row_gets_one(bench: Bench) -> None:
    """With the window that was shown."""
    with running(Emulator(script("claude-code"), models=ROWS)) as emu:
        result = bench.probe(emu, "openai-chat", "--tokens", "12000", ref="first/other")
    assert result.exit_code == 0, result.output
    row = yaml.safe_load(bench.file.read_text())["models"]["first/other"]
    assert (row["tools"], row["context"], row["source"]) == (True, 12000, "sbgw probe")


def test_repeats_are_counted(bench: Bench) -> None:
    """Each question as often as asked; one wrong answer among them is no perfect score."""
    with running(Emulator(script("claude-code"), models=ROWS)) as emu:
        emu.fail_next(Fault("500"))
        told = orjson.loads(bench.probe(emu, "openai-chat", "--repeat", "2", "--json").stdout)
    assert len(told["questions"]) == 18
    assert (told["score"], told["row"]["probe"]["claude-code"]["failed"]) == (0.94, ["single"])


def test_the_report(bench: Bench) -> None:
    """A line for each question while it runs, then the verdict and what to do with it."""
    with running(Emulator(script("claude-code", parallel=Turn("no")), models=ROWS)) as emu:
        lines = bench.probe(emu, "openai-chat").stdout.splitlines()
    assert lines[0] == "first/m as claude-code, over openai-chat"
    assert max(map(len, lines[:11])) <= 80
    assert lines.pop(4).strip() == "it called no tool"
    assert [line.split()[:2] for line in lines[1:10]] == [
        ["FAIL" if name == "parallel" else "ok", name] for name in KEYS
    ]  # fmt: skip
    assert lines[10].startswith("score 0.88, 8 of 9 right: safe for claude-code: experimental")
    assert lines[12] == f"  use it: extends: [default, {bench.file}]"


@pytest.mark.parametrize("kind", ["401", "404", "quota"])
def test_a_model_that_can_not_be_asked(bench: Bench, kind: str) -> None:
    """One clear line, exit code 3, nothing written, no key told."""
    with running(Emulator(script("claude-code"), models=ROWS)) as emu:
        emu.fail_next(Fault(kind))  # type: ignore[arg-type]
        result = bench.probe(emu, "openai-chat")
    assert result.exit_code == 3
    assert "nothing was written" in result.stderr
    assert not bench.file.exists()
    assert emu.key not in result.output
    assert len(emu.requests) == 1


@pytest.mark.parametrize(
    ("ref", "said"),
    [("m", "there is no provider 'm'"), ("frist/m", "did you mean 'first'"), ("simulated/large", "is simulated")],
)
def test_what_can_not_be_probed(bench: Bench, ref: str, said: str) -> None:
    """Said before anything is asked."""
    with running(Emulator(models=ROWS)) as emu:
        result = bench.probe(emu, "openai-chat", ref=ref)
    assert (result.exit_code, emu.requests) == (3, [])
    assert said in result.stderr


def test_a_busy_model_is_waited_for(bench: Bench) -> None:
    """A rate limit with a time is no wrong answer."""
    with running(Emulator(script("claude-code"), models=ROWS)) as emu:
        emu.fail_next(Fault("429", retry_after=0))
        told = orjson.loads(bench.probe(emu, "openai-chat", "--json").stdout)
    assert told["score"] == 1.0
