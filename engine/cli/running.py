"""Asking the gateway that runs on this machine, with its own key."""

from __future__ import annotations

import os
from pathlib import Path

import click
import orjson

from engine.cli.screen import fail
from engine.llm.messages import JsonObject

_PATIENCE = 3.0
"""Seconds to wait for the gateway's word."""

url_option = click.option(
    "--url", default="http://127.0.0.1:8787", show_default=True, help="Where the gateway listens."
)


def ask(url: str, path: str, state: Path) -> JsonObject | None:
    """The JSON object that the gateway at `url` gives for `path`; None when none answers. Stops with a clear line when it refuses."""
    import urllib.error
    import urllib.request

    from engine.store.key import gateway_key

    key, _ = gateway_key(state, os.environ)
    base = url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        fail(f"not an address of a gateway: {url}", "it looks like http://127.0.0.1:8787")
    request = urllib.request.Request(f"{base}{path}", headers={"x-sbgw-key": key})  # noqa: S310 - checked above
    # The key is for this machine: no proxy of the environment may see it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_PATIENCE) as answer:
            found = orjson.loads(answer.read())
            return found if isinstance(found, dict) else None
    except urllib.error.HTTPError as error:
        error.close()
        hint = "its key is another one: name its state folder with --state-dir, or set STACKBILT_GATEWAY_KEY"
        fail(f"the gateway at {base} answered {error.code}", hint if error.code == 401 else "")
    except (OSError, ValueError):
        return None
