"""Every field of a request at providers of every protocol: it has a place there, or a loss that was announced; nothing is silent.

`golden/request_fields.txt` holds the whole table. `SBGW_UPDATE_GOLDEN=1` writes it anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from engine.llm.losses import LOSSES
from tests.protocols.fields import CHAT, MESSAGES, NAMES, REQUESTS, RESPONSES, SCHEMA, Case, row, sent

GOLDEN = Path(__file__).with_name("golden")
PAIRS = [(case, wire) for case in REQUESTS for wire in NAMES]
SHORT = {MESSAGES: "messages", CHAT: "chat", RESPONSES: "responses"}

BESIDE = {
    "metadata": "notes of the client for the provider's own records",
    "store": "keeping the answer, which only its own provider could give back",
    "include.search": "more to be told of searches that only its own provider makes",
    "include.reasoning": "asked for anyway: the gateway asks every provider for what its protocol seals",
    "cache_key": "a hint; caches that go by marks find prompts without a name",
    "cache_retention": "a hint on the provider's own cache",
    "prediction": "a hint that makes an answer faster, not another one",
    "max_tool_calls": "a limit on tools that the provider runs, which are losses themselves",
}
"""What asks a provider's own service for something beside the answer, which is the same without it."""
PLAIN = {
    "output.text": "what every answer is unless asked otherwise",
    "tier.auto": "what every request gets",
    "tier.default": "what every request gets",
    "logprobs.none": "asks for none",
    "n.one": "one answer, as always",
    "modalities.text": "text, as always",
    "truncation.disabled": "nobody cuts off anything",
    "thinking.adaptive": "whether a model thinks is up to it on Chat anyway",
    "thinking.display": "not asked to be shown, which is the default of Responses; Chat has no such word and shows what there is",
    "reasoning.summary": "shown on Messages and Chat unless asked otherwise",
}
"""What asks for the target's own default."""


def told(case: Case, wire: str) -> str:
    """A line of the table."""
    becomes, losses, _ = row(case, wire)
    said = becomes.replace(_SCHEMA, "SCHEMA")
    beside = f"= {BESIDE.get(case.name) or PLAIN.get(case.name, '')}" if not (said or losses) else ""
    return " | ".join(
        (
            case.name,
            f"{SHORT[case.client]} > {SHORT[wire]}",
            said or beside or "nothing",
            ", ".join(sorted(losses)) or "–",
        )
    )


_SCHEMA = orjson.dumps(SCHEMA).decode()


def test_the_table() -> None:
    """What each field becomes at which provider, and what is lost of it, is as written down."""
    table = "".join(f"{told(case, wire)}\n" for case, wire in PAIRS if case.client != wire)
    file = GOLDEN / "request_fields.txt"
    if os.environ.get("SBGW_UPDATE_GOLDEN"):
        file.write_text(table, "utf-8")
    assert table == file.read_text("utf-8")


@pytest.mark.parametrize(("case", "wire"), PAIRS, ids=lambda v: v.name if isinstance(v, Case) else SHORT[v])
def test_nothing_is_silent(case: Case, wire: str) -> None:
    """A field that changes nothing and loses nothing is one of those that need not; every loss was announced and has a code."""
    if case.client == wire:
        kept, _, _ = sent(case.client, wire, {"model": "other", **case.members})
        assert kept == {"model": "m", **case.members}  # the preserve path: as it is
        return
    becomes, losses, announced = row(case, wire)
    assert losses <= announced
    assert losses <= LOSSES.keys()
    assert becomes or losses or case.name in BESIDE or case.name in PLAIN


def test_a_loss_is_not_announced_for_nothing() -> None:
    """What no row of a model or provider could make worse is announced only where it is lost."""
    allowed = {"effort.word", "thinking.off", "thinking.budget", "stop.form", "document"}
    for case, wire in PAIRS:
        if case.client != wire:
            _, losses, announced = row(case, wire)
            assert announced - losses <= allowed, (case.name, case.client, wire)
