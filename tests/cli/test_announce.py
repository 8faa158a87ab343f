"""The start screen says what is kept and where it goes, and nothing that is not so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.cli.announce import screen
from engine.gateway import Gateway
from engine.policy.load import load_text


def shown(state: Path, policy: dict[str, Any], *, trace: bool = False) -> str:
    text = orjson.dumps({"version": 1, "name": "mine", "extends": ["offline"], **policy}).decode()
    gateway = Gateway(load_text(text), environ={}, state=state, log=lambda *_, **__: None, trace=trace)
    return screen(gateway, "http://localhost:1", state, from_environment=True)


RULES = [{"id": "titles", "when": "request.purpose == 'title'"}]


@pytest.mark.parametrize(
    ("policy", "said", "unsaid"),
    [
        ({}, "ledger.sqlite   (no prompt text", ["traces  ", "exports  "]),
        ({"settings": {"telemetry": {"store_prompts": True}}}, "all prompts and answers", []),
        ({"trace": RULES}, "by the rules titles;", ["all prompts"]),
        ({"settings": {"telemetry": {"enabled": False}}}, "none, telemetry is off", ["ledger.sqlite"]),
        ({"settings": {"telemetry": {"governance": {"file": "g.jsonl"}}}}, "exports     governance-file", []),
    ],
)
def test_what_is_kept(tmp_path: Path, policy: dict[str, Any], said: str, unsaid: list[str]) -> None:
    """Records, prompts, exports: each where it is so, and only there."""
    text = shown(tmp_path, policy)
    assert (said in text, [word for word in unsaid if word in text]) == (True, [])


def test_a_run_that_keeps_everything_says_so(tmp_path: Path) -> None:
    """Whatever the policy says."""
    assert "all prompts and answers" in shown(tmp_path, {"trace": RULES}, trace=True)
