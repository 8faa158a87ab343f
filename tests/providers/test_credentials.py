"""Keys and addresses from the environment, and nothing of them in what providers say."""

from __future__ import annotations

import pytest

from engine.llm.catalogue import Provider
from engine.providers.credentials import Credentials

CLOUD = Provider(
    "cloud",
    {"openai-chat": "https://api.test/{account_id}/v1/", "anthropic-messages": "https://api.test"},
    api_key_env=("CLOUD_KEY", "CLOUD_TOKEN"),
    url_env={"account_id": "CLOUD_ACCOUNT"},
)
LOCAL = Provider("local", {"openai-chat": "http://127.0.0.1:8080/v1"}, auth="none")
KEYLESS = Provider("keyless", {"openai-chat": "http://127.0.0.1:8081/v1"})
LOGIN = Provider("login", {"anthropic-messages": "https://login.test"}, auth="client", api_key_env=("LOGIN_KEY",))


def held(**environ: str) -> Credentials:
    return Credentials([CLOUD, LOCAL, KEYLESS, LOGIN], environ)


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"CLOUD_KEY": "a", "CLOUD_TOKEN": "b"}, "a"),
        ({"CLOUD_TOKEN": "b"}, "b"),
        ({"CLOUD_KEY": "  ", "CLOUD_TOKEN": "b"}, "b"),
        ({"CLOUD_KEY": " a\n"}, "a"),
        ({}, ""),
    ],
)
def test_the_first_variable_that_is_set_counts(environ: dict[str, str], key: str) -> None:
    """Blank counts as not set, blanks around a key are not part of it."""
    assert held(**environ).key(CLOUD) == key


def test_what_is_missing_is_named() -> None:
    """The variable of the key and that of the address; nothing for who needs none."""
    assert held().missing(CLOUD) == ("CLOUD_KEY", "CLOUD_ACCOUNT")
    assert held(CLOUD_TOKEN="b").missing(CLOUD) == ("CLOUD_ACCOUNT",)
    assert held(CLOUD_KEY="a", CLOUD_ACCOUNT="x").missing(CLOUD) == ()
    assert [held().missing(p) for p in (LOCAL, KEYLESS, LOGIN)] == [(), (), ()]


def test_the_callers_login_needs_no_key_and_uses_none() -> None:
    """A row with `auth: client` has no key of ours, though one is set."""
    assert held(LOGIN_KEY="k").key(LOGIN) == ""


def test_addresses_are_filled_in() -> None:
    """Placeholders from the environment, no slash at the end."""
    credentials = held(CLOUD_ACCOUNT="acc-1")
    assert credentials.base_url(CLOUD, "openai-chat") == "https://api.test/acc-1/v1"
    assert credentials.base_url(CLOUD, "anthropic-messages") == "https://api.test"


def test_secrets_are_all_keys() -> None:
    """For those who clean what is written."""
    assert held(CLOUD_KEY="cloud-key-1").secrets == {"cloud-key-1"}
