"""Keys and addresses of providers, read once from the environment and from nowhere else.

A key leaves this module only as a request header for the provider it belongs to. `secrets` lists all values, so that
whatever is written somewhere can be cleaned of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from engine.llm.catalogue import Provider

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(slots=True, frozen=True)
class Key:
    """One of a provider's keys."""

    env: str
    """The variable that held it: what it is called in events and lists."""
    digest: str
    """Eight digits that tell it from others."""
    value: str = field(repr=False)


class Credentials:
    """What the environment holds for a policy's providers."""

    def __init__(self, providers: Iterable[Provider], environ: Mapping[str, str]) -> None:
        self._keys: dict[str, tuple[Key, ...]] = {}
        self._digests: dict[str, tuple[str, ...]] = {}
        self._urls: dict[str, dict[str, str]] = {}
        self._missing: dict[str, tuple[str, ...]] = {}
        for provider in providers:
            wanted: list[str] = []
            if provider.auth in ("bearer", "x-api-key") and provider.api_key_env:
                keys = _keys(provider, environ)
                if keys:
                    self._keys[provider.name] = keys
                    self._digests[provider.name] = tuple(key.digest for key in keys)
                else:
                    wanted.append(provider.api_key_env[0])
            places = {place: environ.get(name, "").strip() for place, name in provider.url_env.items()}
            wanted += [provider.url_env[place] for place, value in places.items() if not value]
            self._urls[provider.name] = {protocol: _filled(url, places) for protocol, url in provider.endpoints.items()}
            if wanted:
                self._missing[provider.name] = tuple(wanted)

    def keys(self, provider: Provider) -> tuple[Key, ...]:
        """The provider's keys in the order of its row; empty when it needs none or has none."""
        return self._keys.get(provider.name, ())

    def digests(self, provider: Provider) -> tuple[str, ...]:
        """Those of its keys in the same order; the empty one alone when there is none."""
        return self._digests.get(provider.name, ("",))

    def key(self, provider: Provider, digest: str = "") -> str:
        """The provider's key of that digest, its first one without; empty when it needs none or has none."""
        keys = self._keys.get(provider.name, ())
        return next((key.value for key in keys if key.digest == digest), keys[0].value if keys else "")

    def label(self, provider: Provider, digest: str) -> str:
        """What the key of that digest is called, where the provider has several; else empty."""
        keys = self._keys.get(provider.name, ())
        return next((key.env for key in keys if key.digest == digest), "") if len(keys) > 1 else ""

    def missing(self, provider: Provider) -> tuple[str, ...]:
        """Environment variables to set before `provider` can be used; empty when it is ready."""
        return self._missing.get(provider.name, ())

    def base_url(self, provider: Provider, protocol: str) -> str:
        """The provider's address for `protocol`, without a trailing slash, placeholders filled in."""
        known = self._urls.get(provider.name)
        return known[protocol] if known is not None else _filled(provider.endpoints[protocol], {})

    @property
    def secrets(self) -> frozenset[str]:
        """Every key held."""
        return frozenset(key.value for keys in self._keys.values() for key in keys)


def _keys(provider: Provider, environ: Mapping[str, str]) -> tuple[Key, ...]:
    """The first of the row's variables that is set, then every spare one; the same key under two names is one key."""
    held = [(name, value) for name in provider.api_key_env if (value := environ.get(name, "").strip())][:1]
    held += [(name, value) for name in provider.spare_key_env if (value := environ.get(name, "").strip())]
    found: dict[str, Key] = {}
    for name, value in held:
        found.setdefault(value, Key(name, digest_of(value), value))
    return tuple(found.values())


def _filled(url: str, places: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: places.get(found.group(1), ""), url).rstrip("/")


def digest_of(*secrets: str) -> str:
    """Eight digits that tell credentials apart and can't be turned back into them; empty for none."""
    return sha256("\0".join(secrets).encode()).hexdigest()[:8] if secrets else ""
