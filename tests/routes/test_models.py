"""What a client may ask for, in the shape it expects."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.spine import Behind, Spine, policy, spine

pytestmark = pytest.mark.asyncio(loop_scope="module")
ANTHROPIC = {"anthropic-version": "2023-06-01"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate() -> AsyncIterator[Spine]:
    """First-party names alone, others behind their provider's; one provider has no key."""
    behind = (
        Behind("first", lambda _: "http://127.0.0.1:1", ("openai-chat",), row={"match": ["m"]}),
        Behind("second", lambda _: "http://127.0.0.1:2", ("anthropic-messages",)),
        Behind("third", lambda _: "http://127.0.0.1:3", ("openai-chat",)),
    )
    more = {
        "models": {
            f"{b.name}/{name}": {"tools": True, "as_of": "2026-05-01"} for b in behind for name in ("m", "org/big:free")
        }
    }
    async with spine(policy(*behind, **more), env={"FIRST_KEY": "k", "SECOND_KEY": "k"}) as gate:
        yield gate


async def test_openais_shape(gate: Spine) -> None:
    """`object: list`, ids that can be asked for; shipped rows that need no key stand there too."""
    told = (await gate.send("GET", "/v1/models")).json
    assert told["object"] == "list"
    ours = [row for row in told["data"] if row["owned_by"] in {"first", "second", "third"}]
    assert [row["id"] for row in ours] == ["m", "first/org/big:free", "second/m", "second/org/big:free"]
    assert {(row["object"], row["owned_by"]) for row in ours} == {("model", "first"), ("model", "second")}


async def test_anthropics_shape(gate: Spine) -> None:
    """For those who send `anthropic-version`."""
    told = (await gate.send("GET", "/v1/models", headers=ANTHROPIC)).json
    rows = {row["id"]: row for row in told["data"]}
    assert (told["has_more"], told["first_id"], told["last_id"]) == (False, *[list(rows)[i] for i in (0, -1)])
    assert {row["type"] for row in told["data"]} == {"model"}
    assert rows["m"]["created_at"].startswith("2026-05-01")


@pytest.mark.parametrize("headers", [{}, ANTHROPIC])
@pytest.mark.parametrize("path", ["second/org/big:free", "second%2Forg%2Fbig%3Afree", "m", "first/m", "third/m"])
async def test_one_model_by_its_id(gate: Spine, path: str, headers: dict[str, str]) -> None:
    """Slashes plain or percent-encoded; one without a key can still be looked at."""
    for prefix in ("/v1", "/v1/v1"):
        answer = await gate.send("GET", f"{prefix}/models/{path}", headers=headers)
        assert answer.status == 200
        assert answer.json["id"] == path.replace("%2F", "/").replace("%3A", ":")


async def test_an_unknown_model_is_404_in_either_envelope(gate: Spine) -> None:
    """And names the list."""
    openai = await gate.send("GET", "/v1/models/gone")
    anthropic = await gate.send("GET", "/v1/models/gone", headers=ANTHROPIC)
    assert (openai.status, openai.json["error"]["code"]) == (404, "model_not_found")
    assert (anthropic.status, anthropic.json["error"]["type"]) == (404, "not_found_error")


async def test_a_model_without_a_key_is_not_listed(gate: Spine) -> None:
    """What can't be served is not offered."""
    assert "third/m" not in [row["id"] for row in (await gate.send("GET", "/v1/models")).json["data"]]
