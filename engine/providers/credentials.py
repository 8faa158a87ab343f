"""Keys and addresses of providers, read once from the environment and from nowhere else.

A key leaves this module only as a request header for the provider it belongs to. `secrets` lists all values, so that
whatever is written somewhere can be cleaned of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256

from engine.llm.catalogue import Provider

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Credentials:
    """What the environment holds for a policy's providers."""

    def __init__(self, providers: Iterable[Provider], environ: Mapping[str, str]) -> None:
        self._keys: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._places: dict[str, dict[str, str]] = {}
        self._missing: dict[str, tuple[str, ...]] = {}
        for provider in providers:
            wanted: list[str] = []
            if provider.auth in ("bearer", "x-api-key") and provider.api_key_env:
                key = next((v for name in provider.api_key_env if (v := environ.get(name, "").strip())), "")
                if key:
                    self._keys[provider.name] = key
                    self._digests[provider.name] = digest_of(key)
                else:
                    wanted.append(provider.api_key_env[0])
            places = {place: environ.get(name, "").strip() for place, name in provider.url_env.items()}
            wanted += [provider.url_env[place] for place, value in places.items() if not value]
            self._places[provider.name] = places
            if wanted:
                self._missing[provider.name] = tuple(wanted)

    def key(self, provider: Provider) -> str:
        """The provider's key, empty when it needs none or has none."""
        return self._keys.get(provider.name, "")

    def digest(self, provider: Provider) -> str:
        """Which key that is, in eight digits that don't give it away; empty when there is none."""
        return self._digests.get(provider.name, "")

    def missing(self, provider: Provider) -> tuple[str, ...]:
        """Environment variables to set before `provider` can be used; empty when it is ready."""
        return self._missing.get(provider.name, ())

    def base_url(self, provider: Provider, protocol: str) -> str:
        """The provider's address for `protocol`, without a trailing slash, placeholders filled in."""
        places = self._places.get(provider.name, {})
        url = _PLACEHOLDER.sub(lambda m: places.get(m.group(1), ""), provider.endpoints[protocol])
        return url.rstrip("/")

    @property
    def secrets(self) -> frozenset[str]:
        """Every key held."""
        return frozenset(self._keys.values())


def digest_of(*secrets: str) -> str:
    """Eight digits that tell credentials apart and can't be turned back into them; empty for none."""
    return sha256("\0".join(secrets).encode()).hexdigest()[:8] if secrets else ""
