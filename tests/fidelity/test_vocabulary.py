"""The neutral vocabulary is complete: every word that occurs in recorded and captured traffic has a place, and the list says which.

`golden/vocabulary.txt` is that list; it is held to the engine everywhere, and to the traffic where that is at hand.
`SBGW_UPDATE_GOLDEN=1` writes it anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.llm.losses import LOSSES
from tests.fidelity.corpus import PROTOCOLS, captures, exchanges
from tests.fidelity.vocabulary import Word, of_answer, of_request, place

GOLDEN = Path(__file__).with_name("golden") / "vocabulary.txt"


def occurring() -> list[Word]:
    """Every word of the traffic, once."""
    found: set[Word] = set()
    for protocol in PROTOCOLS:
        for exchange in exchanges(protocol):
            if exchange.request and exchange.status == 200:
                found.update(of_request(protocol, exchange.request))
            if exchange.status == 200 and exchange.capture != "fixture-edited":
                found.update(of_answer(exchange))
    for _, protocol, body in captures():
        found.update(of_request(protocol, body))
    return sorted(word for word in found if word[2] not in ("None", "") or word[1] == "stop")


def listed() -> list[tuple[Word, str]]:
    """The list as it is written down."""
    rows = [line.split(" | ") for line in GOLDEN.read_text("utf-8").splitlines()]
    return [((protocol, kind, word), where) for protocol, kind, word, where in rows]


def test_the_list_holds_what_occurs(shared: Path) -> None:
    """All 1,399 exchanges and 709 requests, as far as they are in the three protocols."""
    assert shared.is_dir()
    table = "".join(f"{' | '.join(word)} | {place(word)}\n" for word in occurring())
    if os.environ.get("SBGW_UPDATE_GOLDEN"):
        GOLDEN.write_text(table, "utf-8")
    assert table == GOLDEN.read_text("utf-8")


def test_every_word_has_its_place() -> None:
    """What the list says is what the engine does, and none has no place; a carrier names a code that exists."""
    rows = listed()
    assert len(rows) > 300
    assert [(word, place(word)) for word, _ in rows] == rows
    assert [word for word, where in rows if not where] == []
    codes = {
        code
        for _, where in rows
        if "lost as " in where
        for code in where.partition("lost as ")[2].replace(" or ", ", ").split(", ")
    }
    assert codes <= LOSSES.keys()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_word_that_nobody_knows_has_a_carrier(protocol: str) -> None:
    """Tomorrow's block, tool and field ride along, and their loss is declared."""
    for kind in ("part", "tool", "request field"):
        assert "lost as" in place((protocol, kind, "novelty_20991231")), kind
