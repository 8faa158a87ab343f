"""Callers that come again are known by every byte of their headers, and by nothing less."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from engine.callers import Caller, Callers
from engine.guard import Guard
from engine.llm.errors import AuthenticationError, GatewayError

FINE = {
    "Host": "localhost:8787", "X-Api-Key": "the-key", "Content-Type": "application/json", "User-Agent": "claude-cli/2.1",
    "Authorization": "Bearer theirs",
}  # fmt: skip


def guard(key: str = "the-key") -> Guard:
    return Guard.of(port=8787, names=[], keys=[key], named={"shop": "shop-key"})


def caller(callers: Callers, **changes: str | None) -> Caller:
    headers = {**FINE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    given = CIMultiDict((name, value) for name, value in headers.items() if value is not None)
    return callers.of(make_mocked_request("POST", "/v1/messages", headers=given))


def admitted(callers: Callers, **changes: str | None) -> Caller:
    found = caller(callers, **changes)
    callers.admit("POST", "/v1/messages", found)
    return found


def test_the_same_headers_are_the_same_caller() -> None:
    """The body's length is the request's, not the caller's."""
    callers = Callers(guard())
    first = admitted(callers, Content_Length="10")
    assert caller(callers, Content_Length="99") is first
    assert "content-length" not in first.headers
    assert first.credential == {"authorization": "Bearer theirs"}
    assert first.identity("") is first.identity("")
    assert (first.identity("").name, first.identity("mine").project) == ("claude-code", "mine")


@pytest.mark.parametrize(
    "changes", [{"X-Api-Key": "the-kez"}, {"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Content-Type": "text/plain"}]
)  # fmt: skip
def test_any_other_header_is_another_caller(changes: dict[str, str]) -> None:
    """One that the guard has not seen is asked for anew, whoever was let in before."""
    callers = Callers(guard())
    known = admitted(callers)
    other = caller(callers, **{**({"Authorization": None} if "X-Api-Key" in changes else {}), **changes})
    assert other is not known
    with pytest.raises(GatewayError):
        callers.admit("POST", "/v1/messages", other)
    assert caller(callers) is known


def test_strangers_are_not_remembered() -> None:
    """Who was refused, or only asked what needs no key, is nobody."""
    callers = Callers(guard())
    stranger = caller(callers, X_Api_Key=None, Authorization=None)
    callers.admit("POST", "/health", stranger)
    callers.admit("GET", "/", stranger)
    with pytest.raises(AuthenticationError):
        callers.admit("POST", "/v1/messages", stranger)
    assert caller(callers, X_Api_Key=None, Authorization=None) is not stranger


def test_a_known_caller_is_asked_for_what_is_not_of_its_headers() -> None:
    """The request line and another method are looked at each time."""
    callers = Callers(guard())
    known = admitted(callers)
    for method, target in (("POST", "http://evil.example/v1/messages"), ("OPTIONS", "/v1/messages")):
        with pytest.raises(GatewayError):
            callers.admit(method, target, known)
    callers.admit("POST", "/v1/responses", known)


def test_another_guard_knows_nobody() -> None:
    """Its keys are others."""
    callers = Callers(guard())
    admitted(callers)
    with pytest.raises(AuthenticationError):
        admitted(Callers(guard("new-key")), Authorization=None)


def test_a_named_key_names_its_project() -> None:
    """The key's name is the project where the address names none."""
    shop = admitted(Callers(guard()), X_Api_Key="shop-key")
    assert (shop.key, shop.identity("").project, shop.identity("other").project) == ("shop", "shop", "other")


def test_many_callers_are_bounded() -> None:
    """A client that sends a new header with every request fills no memory, and is served."""
    callers = Callers(guard())
    for number in range(1000):
        assert admitted(callers, X_Request=str(number)).identity(str(number)).project == str(number)
    assert len(callers) <= 64
