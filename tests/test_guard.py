"""The door: who gets in."""

from __future__ import annotations

import pytest

from engine.guard import Guard
from engine.llm.errors import GatewayError

GUARD = Guard.of(port=8787, names=["127.0.0.1"], keys=["the-key"])
FINE = {"host": "localhost:8787", "x-api-key": "the-key", "content-type": "application/json"}


def refused(target: str = "/v1/messages", method: str = "POST", **changes: str | None) -> int:
    headers = {**FINE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    try:
        GUARD.admit(method, target, {k: v for k, v in headers.items() if v is not None})
    except GatewayError as error:
        return error.status
    return 0


@pytest.mark.parametrize("host", ["localhost:8787", "127.0.0.1:8787", "[::1]:8787", "LOCALHOST:8787"])
def test_our_own_names_are_let_in(host: str) -> None:
    """Loopback names with our port pass."""
    assert refused(host=host) == 0


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8787", "localhost", "localhost:80", "127.0.0.1.evil.example:8787", "", "localhost:8787@evil", "0.0.0.0:8787",
     "127.0.0.1:8787/dashboard?x", "localhost:8787.", "[::1]", "127.1:8787"],
)  # fmt: skip
def test_a_rebound_name_is_refused(host: str) -> None:
    """Any other Host is misdirected (DNS rebinding)."""
    assert refused(host=host) == 421


def test_a_missing_host_is_refused() -> None:
    """No Host, no entry."""
    assert refused(host=None) == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "https://localhost:8787", "file://"]
)
def test_a_web_page_is_refused(origin: str) -> None:
    """A foreign Origin never passes, with the key or without."""
    assert refused(origin=origin) == 403


def test_our_own_page_is_let_in() -> None:
    """The gateway's own origin passes."""
    assert refused(origin="http://localhost:8787") == 0


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 0), ("none", 0)])
def test_sec_fetch_site(site: str, status: int) -> None:
    """Browsers say where a request comes from; only ourselves and the address bar will do."""
    assert refused(sec_fetch_site=site) == status


def test_preflights_are_refused() -> None:
    """There is no CORS here."""
    assert refused(method="OPTIONS") == 403


@pytest.mark.parametrize(
    "target", ["http://localhost:8787/v1/messages", "localhost:8787", "*", "//evil/../v1/models?x"]
)
def test_absolute_targets(target: str) -> None:
    """A request line that names a URL is refused; a path that looks like one is just a path."""
    assert refused(target=target) == (0 if target.startswith("/") else 400)


@pytest.mark.parametrize("key", [None, "", "the-ke", "the-key2", "THE-KEY", "schlüssel", "Bearer", "the-key\x00"])
def test_wrong_keys_are_refused(key: str | None) -> None:
    """Missing, empty, prefix, longer, non-ASCII keys: 401."""
    assert refused(x_api_key=key) == 401


@pytest.mark.parametrize(
    "headers",
    [{"x_sbgw_key": "the-key"}, {"authorization": "Bearer the-key"}, {"authorization": "bearer  the-key"}, {"x_api_key": "the-key", "authorization": "Bearer other"}],
)  # fmt: skip
def test_the_key_may_come_three_ways(headers: dict[str, str]) -> None:
    """x-sbgw-key, x-api-key and Bearer all do; one right one is enough."""
    assert refused(**{"x_api_key": None, **headers}) == 0


@pytest.mark.parametrize("path", ["/", "/health", "/api/hello", "/health?x=1"])
def test_open_paths_need_no_key(path: str) -> None:
    """Connectivity checks work without a key, but not from a web page."""
    assert (
        refused(path, "GET", x_api_key=None),
        refused(path, "GET", x_api_key=None, origin="https://evil.example"),
    ) == (0, 403)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_only_json_is_taken(kind: str | None) -> None:
    """What a web page could send without asking is refused by its type."""
    assert refused(content_type=kind) == 415


def test_json_with_a_charset_is_json() -> None:
    """Parameters of the type don't matter."""
    assert refused(content_type="Application/JSON; charset=utf-8") == 0


def test_the_callers_credential_is_not_ours() -> None:
    """Our own key is never handed on as the caller's."""
    headers = {"authorization": "Bearer the-key", "x-api-key": "sk-callers"}
    assert GUARD.caller_credential(headers) == {"x-api-key": "sk-callers"}


def test_a_named_key_stands_for_its_project() -> None:
    """A named key opens the door like any other, is known by its project, and is never taken for the caller's own login."""
    guard = Guard.of(port=8787, names=[], keys=["the-key"], named={"shop": "shop-key", "api": "api-key"})
    for sent, project in (("shop-key", "shop"), ("api-key", "api"), ("the-key", "")):
        headers = {**FINE, "x-api-key": sent}
        guard.admit("POST", "/v1/messages", headers)
        assert (guard.key_name(headers), guard.caller_credential(headers)) == (project, {})
    assert guard.key_name({"authorization": "Bearer shop-key", "x-api-key": "other"}) == "shop"
