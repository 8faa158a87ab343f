"""`sbgw explain`: what it takes, what it shows, how it ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from click.testing import Result

from tests.cli.conftest import CANARY, body

Run = Callable[..., Result]


def newest(run: Run, at: int = 1) -> str:
    """The id of an event, the newest one being 0."""
    return str(orjson.loads(run("events", "--json").output.splitlines()[at])["id"])


def test_an_event_by_the_policy_of_its_time(run: Run) -> None:
    """The beginning of an id is enough; who served stands below the reasons."""
    name = newest(run)
    shown = run("explain", name[:14]).output
    assert f"event {name}" in shown
    assert "claude-code 2.1.4 · anthropic-messages · claude-opus-5-5" in " ".join(shown.split())
    assert "policy    offline@" in shown
    assert "served    simulated/" in shown
    assert "✓ coding" in shown


def test_the_newest_event_could_not_be_decided(run: Run) -> None:
    """`last` is the request that was no JSON: there is nothing to explain, and that is said."""
    result = run("explain", "last")
    assert (result.exit_code, "there are no facts" in result.output) == (1, True)


def test_under_another_policy(run: Run) -> None:
    """--policy explains the same request by other rules."""
    shown = run("explain", newest(run), "--policy", "strict").output
    assert "policy    strict@" in shown
    assert "NO_KEY floor.key" in shown


def test_against_another_policy(run: Run) -> None:
    """--against shows both decisions, the kinds of difference, and the two deciding lines."""
    shown = run("explain", newest(run), "--against", "strict").output
    assert "differs   unserved: no candidate left now, served before" in shown
    assert "  before  " in shown
    assert "  after   " in shown


def test_json(run: Run) -> None:
    """Both explanations with their format's version, and what differs."""
    name = newest(run)
    made = orjson.loads(run("explain", name, "--against", "strict", "--json").stdout)
    assert (made["format_version"], made["event"]) == (1, name)
    assert made["explanation"]["format_version"] == made["against"]["format_version"] == 1
    assert made["differences"] == ["unserved"]
    assert len(made["deciding"]) == 2


@pytest.mark.parametrize("shape", ["anthropic-messages", "openai-responses", "openai-chat"])
def test_a_request_of_any_protocol(run: Run, shape: str) -> None:
    """A file's protocol is told from its shape; its text is read for signals and never shown."""
    asked = body(1)
    if shape == "openai-responses":
        asked = {"model": "gpt-5.5", "input": CANARY}
    if shape == "openai-chat":
        asked = {"model": "gpt-5.5", "messages": [{"role": "user", "content": CANARY}]}
    Path("asked.json").write_bytes(orjson.dumps(asked))
    made = orjson.loads(run("explain", "asked.json", "--policy", "offline", "--json").output)
    assert made["explanation"]["routeClass"] == ("deep_reasoning" if shape == "anthropic-messages" else "cheap_edit")


def test_a_request_from_standard_input_as_a_client(run: Run) -> None:
    """`-` reads the request; --client says who sends it."""
    result = run("explain", "-", "--client", "claude-code", "--policy", "default", typed=orjson.dumps(body(0)))
    shown = " ".join(result.output.split())
    assert "vars.side_work = true" in shown
    assert "needs ANTHROPIC_API_KEY" in shown


def test_an_exported_event(run: Run) -> None:
    """A line of an export is explained like the event it came from."""
    exported = orjson.loads(run("events", "export").stdout.splitlines()[2])
    Path("event.json").write_bytes(orjson.dumps(exported))
    assert run("explain", "event.json").output == run("explain", exported["id"]).output


def test_bare_facts(run: Run) -> None:
    """Facts written by hand are enough; what they leave out is said to be a default."""
    Path("facts.json").write_bytes(orjson.dumps({"facts": {"request": {"tools": 3}}}))
    result = run("explain", "facts.json", "--policy", "offline")
    assert "taken as their defaults" in result.stderr
    assert "request.tools > 0 (3)" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing-like-it"], 2, "neither a file nor an event"),
        (["abc"], 1, "at least 8 characters"),
        (["abcdefabcdef"], 1, "no event 'abcdefabcdef'"),
        (["broken.json"], 3, "not valid JSON"),
        (["broken.json", "--state-dir", "empty"], 3, "not valid JSON"),
        (["last", "--state-dir", "empty"], 1, "no records"),
        (["last", "--policy", "missing"], 1, "there is no policy 'missing'"),
    ],
)
def test_what_it_can_not_explain(run: Run, words: list[str], code: int, said: str) -> None:
    """Every way to ask in vain has its exit code and a sentence."""
    Path("broken.json").write_text('{"model": "x"', "utf-8")
    result = run("explain", *words)
    assert (result.exit_code, said in result.output) == (code, True)


def test_a_policy_that_is_not_kept(run: Run, state: Path, tmp_path: Path) -> None:
    """Without the policy of its time an event needs another one to be named."""
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(state / "ledger.sqlite", copy)
    name = newest(run)
    result = run("explain", name, "--state-dir", str(copy))
    assert (result.exit_code, "not kept any more" in result.output) == (1, True)
    assert run("explain", name, "--state-dir", str(copy), "--policy", "offline").exit_code == 0
