"""Events fit to be kept: clean ones as they are, others without secrets, controls and length."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from engine.store.cleaning import LONGEST, cleaned
from engine.store.event import AttemptEvent
from engine.store.redaction import Redactor
from tests.store.builders import event, full

REDACTOR = Redactor(["exact-secret-of-ours-4711"])


def test_a_clean_event_is_the_same() -> None:
    """Nearly all are: no copy is made."""
    made = full()
    assert cleaned(made, REDACTOR) is made


@pytest.mark.parametrize("name", ["requested_model", "project", "session_id", "selected_model"])
def test_no_name_is_as_long_as_a_request(name: str) -> None:
    """Wherever it stands, in the decision and the facts too: whole events stay small."""
    long = "m" * 1_000_000
    facts = {"request": {"model": long, "tool_names": [long, "Bash"]}}
    decision = {"candidates": [{"ref": f"p/{long}"}]}
    kept = cleaned(
        event(facts=facts, decision=decision, attempts=(AttemptEvent("p", long, "openai-chat"),), **{name: long}),
        REDACTOR,
    )
    assert (getattr(kept, name), len(orjson.dumps(kept.to_json())) < 20_000) == ("m" * (LONGEST - 1) + "…", True)
    assert kept.facts["request"]["tool_names"][1] == "Bash"


def test_controls_and_secrets_go() -> None:
    """From every text of others; what is ours stays."""
    kept = cleaned(replace(full(), project="a\x1b[2J\u202eb", agent="exact-secret-of-ours-4711"), REDACTOR)
    assert kept.project == "a\ufffd[2J\ufffdb"
    assert kept.agent.startswith("[secret:")
    assert kept.id == full().id
