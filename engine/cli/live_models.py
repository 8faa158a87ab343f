"""What providers list, beside what the policy's rows say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.cli.screen import safe
from engine.llm.catalogue import Model
from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject
from engine.protocols.model_catalogue import ListedModel

if TYPE_CHECKING:
    from engine.policy.model import Policy

_SHOWN = 40
"""Models without a row that are shown of one provider; a broker lists hundreds."""


@dataclass(slots=True, frozen=True)
class Difference:
    """A row that says something else than the provider's list."""

    model: str
    field: str
    row: int | str
    live: int | str


@dataclass(slots=True)
class Listing:
    """One provider's list against the rows."""

    provider: str
    source: str = ""
    """Where the list is, as the row writes it: a placeholder stays one."""
    listed: list[ListedModel] = field(default_factory=list)
    unknown: list[ListedModel] = field(default_factory=list)
    """Listed, without a row of their own; models for other things than text left out."""
    gone: list[Model] = field(default_factory=list)
    """Rows whose model is not listed."""
    differences: list[Difference] = field(default_factory=list)
    error: str = ""
    hint: str = ""

    def to_json(self) -> JsonObject:
        """For `--json`."""
        out: JsonObject = {
            "provider": self.provider,
            "listed": len(self.listed),
            "unknown": [_listed_json(model) for model in self.unknown],
            "gone": [model.ref for model in self.gone],
            "differences": [
                {"model": d.model, "field": d.field, "row": d.row, "live": d.live} for d in self.differences
            ],
        }
        return {**out, "error": self.error} if self.error else out

    def lines(self) -> Iterator[str]:
        """For people: a line for the provider, one for each difference."""
        if self.error:
            yield f"{self.provider:<14} no list: {safe(self.error)}"
            return
        counts = (
            f"{len(self.unknown)} without a row, {len(self.gone)} rows not listed, {len(self.differences)} different"
        )
        yield f"{self.provider:<14} {len(self.listed)} listed: {counts}"
        for model in self.unknown[:_SHOWN]:
            told = [f"context {model.context:,}"] if model.context else []
            told += [word for word in ("tools", "vision", "reasoning") if getattr(model, word)]
            yield f"  + {safe(model.name)}" + (f"   {', '.join(told)}" if told else "")
        if len(self.unknown) > _SHOWN:
            yield f"  + {len(self.unknown) - _SHOWN} more (--json lists all; `sbgw models import {self.provider}`)"
        for row in self.gone:
            yield f"  - {row.name}   has a row, is not listed there" + (f" (ends {row.ends})" if row.ends else "")
        for found in self.differences:
            yield f"  ~ {safe(found.model)}   {found.field}: the row says {found.row}, the list {safe(str(found.live))}"


async def ask(policy: Policy, environ: Mapping[str, str], *, only: str = "") -> list[Listing]:
    """The lists of all providers that are ready, or of the one named, asked at once."""
    from engine.probe.live_list import live_models
    from engine.protocols.registry import PROTOCOLS
    from engine.providers.credentials import Credentials
    from engine.providers.transport import Transport
    from engine.store.redaction import Redactor

    credentials = Credentials(policy.providers.values(), environ)
    redactor = Redactor(credentials.secrets)
    transport = Transport()
    await transport.start()

    async def one(name: str) -> Listing:
        provider = policy.providers[name]
        missing = credentials.missing(provider)
        if provider.simulated:
            return Listing(name, error="it is simulated")
        if provider.auth == "client":
            return Listing(name, error="it takes the login of the caller, which only an agent has")
        if missing:
            return Listing(name, error="no key", hint=f"set {', '.join(missing)}")
        listing = Listing(name, next(iter(provider.endpoints.values())) + provider.models_path)
        try:
            listing.listed = await live_models(provider, PROTOCOLS, credentials, transport)
        except ProviderError as error:
            redactor.scrub(error)
            listing.error = error.message
        else:
            _fill(policy, listing)
        return listing

    names = [only] if only else [
        name
        for name, provider in policy.providers.items()
        if provider.enabled and not provider.simulated and provider.auth != "client" and not credentials.missing(provider)
    ]  # fmt: skip
    try:
        return list(await asyncio.gather(*map(one, names)))
    finally:
        await transport.close()


def new_rows(listing: Listing, *, today: str, everything: bool) -> dict[str, JsonObject]:
    """Rows for what is listed and has none, with the list's plain claims alone."""
    wanted = [model for model in listing.listed if model.talks] if everything else listing.unknown
    return {f"{listing.provider}/{model.name}": _row(model, listing.source, today) for model in wanted}


def _row(model: ListedModel, source: str, today: str) -> JsonObject:
    row: JsonObject = {"tools": bool(model.tools)}
    row |= {word: True for word in ("vision", "reasoning") if getattr(model, word)}
    if model.context:
        row["context"] = model.context
    if model.max_output:
        row["max_output"] = model.max_output
    if model.ends:
        row["ends"] = model.ends
    return {**row, "source": source, "as_of": today}


def _fill(policy: Policy, listing: Listing) -> None:
    rows = {model.name: model for model in policy.models.values() if model.provider == listing.provider}
    by_name = {model.name: model for model in listing.listed}
    listing.unknown = [model for model in listing.listed if model.name not in rows and model.talks]
    listing.gone = [row for name, row in rows.items() if name not in by_name and f"{name}:latest" not in by_name]
    for name, row in rows.items():
        live = by_name.get(name)
        if live is None:
            continue
        for what, said, told in (
            ("context", row.context, live.context),
            ("max_output", row.max_output, live.max_output),
            ("ends", row.ends or "nothing", live.ends or None),
        ):
            if told is not None and told != said:
                listing.differences.append(Difference(name, what, said, told))
        if live.tools is False and row.tools:
            listing.differences.append(Difference(name, "tools", "yes", "no"))


def _listed_json(model: ListedModel) -> JsonObject:
    told = {
        "context": model.context,
        "maxOutput": model.max_output,
        "tools": model.tools,
        "vision": model.vision,
        "reasoning": model.reasoning,
        "ends": model.ends or None,
    }
    return {"model": model.name, **{key: value for key, value in told.items() if value is not None}}
