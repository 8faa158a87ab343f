"""Which providers and models are worth a try right now: what earlier attempts told.

Two things make one step back, and the longer of them holds. A *cool-down* is what a provider told us, or a failure that only
time or money ends: a rate limit, a quota, a bad key. A *breaker* is what we saw ourselves: too many attempts that failed.
What a failure does, and to what (a model under one key, all that the key reaches, the whole provider), stands in
`engine.llm.meanings`. A request's own fault changes nothing.

Whoever steps back goes behind the healthy ones. Nobody is ever shut out: with nobody else left, it is still tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from engine.llm.errors import ProviderError
from engine.llm.meanings import EFFECTS
from engine.llm.messages import JsonObject
from engine.policy.availability import availability_json
from engine.policy.decide import ProviderState
from engine.providers.breaker import WINDOW, State
from engine.providers.limits import Limits
from engine.providers.ward import Place, Trial, Ward

if TYPE_CHECKING:
    from engine.llm.catalogue import Provider
    from engine.policy.model import Policy
    from engine.providers.credentials import Credentials

MAX_COOL_DOWN = 24 * 3600.0
"""Seconds; nobody's word for longer is believed."""

MAX_PLACES = 500
"""Places remembered of one provider: names of models come from clients too. The oldest goes first."""

MAX_LOGINS = 64
"""Logins of callers for which a snapshot is kept."""

_WORSE: tuple[State, ...] = ("closed", "degraded", "recovering", "open")
_NEW = Ward()


class Health:
    """State per place, and as a snapshot per provider and model that may be kept: a change makes a new mapping."""

    def __init__(self, monotonic: Callable[[], float], limits: Limits | None = None) -> None:
        """`limits`: what has been used of the rows' own limits; they make a provider step back as well."""
        self._monotonic = monotonic
        self._limits = limits
        self._wards: dict[str, dict[Place, Ward]] = {}
        self._paths: dict[Place, tuple[Ward, ...]] = {}
        """What is known of places that were asked, of all of their keys, of all of their providers."""
        self._states: dict[str, Mapping[str, ProviderState]] = {}
        """Snapshots by the caller's login."""
        self._of: tuple[Policy | None, Credentials | None] = (None, None)
        self._told_of: Mapping[str, ProviderState] | None = None
        self._said: JsonObject = {}
        self._stale: set[str] = set()
        self._dues: dict[str, float] = {}
        """When time alone changes a state, by provider."""
        self._due = float("inf")
        """The first of them."""
        self.changed = False
        """Something that should outlive a restart has changed; whoever keeps it sets this back."""

    # ── attempts ──

    def admits(self, place: Place) -> bool:
        """Whether `place` is worth an attempt before others are asked: well, or recovering with room for one more."""
        return self._admits(place, self._monotonic())

    def pick(self, provider: str, keys: Sequence[str], model: str) -> tuple[Place, bool]:
        """(where `model` is asked: with the first of `keys` that is well, else with the one that is soonest; whether it is well)."""
        return self._pick(provider, keys, model, self._monotonic())

    def _pick(self, provider: str, keys: Sequence[str], model: str, now: float) -> tuple[Place, bool]:
        for key in keys:
            if self._admits(place := Place(provider, key, model), now):
                return place, True
        places = (Place(provider, key, model) for key in keys)
        return min(places, key=lambda place: self._until(place, now)), False

    def _admits(self, place: Place, now: float) -> bool:
        path = self._paths.get(place)
        if path is None:
            known = self._wards.get(place.provider)
            path = tuple(ward for where in place.wider() if (ward := known.get(where))) if known else ()
        for ward in path:  # noqa: SIM110 - all() would make a generator for each place that is looked at
            if not ward.ready(now):
                return False
        return True

    def _until(self, place: Place, now: float) -> float:
        """When `place` is worth a try again."""
        known = self._wards.get(place.provider, {})
        return max(known.get(where, _NEW).until(now) for where in place.wider())

    def begin(self, place: Place) -> Trial:
        """An attempt at `place`. Tell how it went: `answered`, `failed` or `left`, and `failed` after `answered` too."""
        now = self._monotonic()
        wards = self._paths.get(place)
        if wards is None:
            wards = tuple(map(self._ward, place.wider()))
            self._paths[place] = wards
        model, provider = wards[0].breaker, wards[-1].breaker
        if model.until is not None or provider.until is not None:
            self._stale.add(place.provider)
        return Trial(place, wards, now, (model.begin(now), provider.begin(now)))

    def answered(self, trial: Trial, first_event_ms: float | None) -> None:
        """Its answer has begun; the first content came after `first_event_ms`, None where that says nothing of the model."""
        now = self._monotonic()
        trial.ok, trial.latency_ms = True, first_event_ms
        for ward, outcome in trial.counted:
            self.changed |= ward.breaker.until is not None
            ward.breaker.succeeded(outcome, now)
            ward.trials.append(trial)
        for ward in trial.wards:
            if now < ward.cool_until and ward.cool_since <= trial.began:
                ward.cool_until, self.changed = now, True  # it was asked all the same, and it answered
        self._stale.add(trial.place.provider)

    def failed(self, trial: Trial, error: ProviderError) -> None:
        """It failed, before or after its answer had begun."""
        effect, now, place = EFFECTS[error.meaning], self._monotonic(), trial.place
        if not effect.scope:
            self.left(trial)
            return
        at = {"model": place, "key": Place(place.provider, place.key), "provider": Place(place.provider)}[effect.scope]
        turned, trial.ok = trial.ok is True, False
        for (ward, outcome), where in zip(trial.counted, (place, Place(place.provider)), strict=True):
            if not turned:
                ward.trials.append(trial)
            ward.failed_until = max(ward.failed_until, trial.began + WINDOW)
            if effect.breaks and where == at:
                before = ward.breaker.until
                ward.breaker.failed(outcome, now, error.meaning)
                self.changed |= ward.breaker.until != before
            else:
                ward.breaker.released(outcome)
        wait = effect.cool_down if error.retry_after is None else error.retry_after
        if wait > 0:
            self._ward(at).cool(now, min(wait, MAX_COOL_DOWN), error.meaning)
            self.changed = True
        self._stale.add(place.provider)

    def left(self, trial: Trial) -> None:
        """It told nothing of the provider: the caller left or was at fault, or the defect is ours."""
        for ward, outcome in trial.counted:
            ward.breaker.released(outcome)
        self._stale.add(trial.place.provider)

    def outrun(self, trial: Trial, waited_ms: float) -> None:
        """It was given up after `waited_ms`, because another one, asked beside it, was faster: no failure, but it takes that long."""
        trial.ok, trial.latency_ms = True, waited_ms
        for ward, _ in trial.counted:
            ward.trials.append(trial)
        self._stale.add(trial.place.provider)

    def _ward(self, place: Place) -> Ward:
        of = self._wards.setdefault(place.provider, {})
        ward = of.get(place)
        if ward is None:
            if len(of) >= MAX_PLACES:
                del of[next(where for where in of if where.model)]
                self._paths.clear()
                self._states.clear()
            ward = of[place] = Ward()
        return ward

    # ── what is known ──

    def wards(self) -> Iterator[tuple[Place, Ward]]:
        """Everything that is known."""
        for of in self._wards.values():
            yield from of.items()

    def restore(self, place: Place) -> Ward:
        """A place to be filled with what an earlier process knew."""
        self._stale.add(place.provider)
        return self._ward(place)

    def availability(self, policy: Policy, credentials: Credentials, login: str = "") -> Mapping[str, ProviderState]:
        """Every provider of `policy` by name, and every model that was tried by `provider/model`.

        `login` is the digest of the caller's own credential, for the rows that take it.
        """
        now = self._monotonic()
        if self._of[0] is not policy or self._of[1] is not credentials:
            self._of = (policy, credentials)
            self._states.clear()
            self._dues.clear()
        if self._limits is not None and self._limits.changed:
            self._stale |= self._limits.changed
            self._limits.changed = set()
        stale = policy.providers.keys() if now >= self._due else self._stale
        if stale:
            # A snapshot may be held by a request: what changed gets a new mapping, the rest is shared.
            for of, states in self._states.items():
                self._states[of] = {**states, **self._read(policy, credentials, of, stale, now)}
            self._note_dues(policy, stale, now)
            self._stale = set()
        found = self._states.get(login)
        if found is None:
            if len(self._states) >= MAX_LOGINS:
                self._states.clear()
            found = self._states[login] = self._read(policy, credentials, login, policy.providers.keys(), now)
            self._note_dues(policy, policy.providers.keys(), now)
        return found

    def told(self, states: Mapping[str, ProviderState]) -> JsonObject:
        """`availability_json` of a snapshot, made once for all requests that hold it."""
        if self._told_of is not states:
            self._told_of, self._said = states, availability_json(states)
        return self._said

    def _read(
        self, policy: Policy, credentials: Credentials, login: str, names: Iterable[str], now: float
    ) -> dict[str, ProviderState]:
        states: dict[str, ProviderState] = {}
        for name in names:
            provider = policy.providers.get(name)
            if provider is None:
                continue
            known = self._wards.get(name, {})
            missing, keys = credentials.missing(provider), identities(provider, credentials, login)
            whole, well = known.get(Place(name), _NEW), self._pick(name, keys, "", now)[1]
            states[name] = ProviderState(
                key=not missing,
                missing=missing,
                healthy=well,
                state=whole.breaker.state(now),
                latency_p50_ms=whole.latency_ms,
                error_rate=whole.error_rate(now),
                limited=self._limits is not None and self._limits.wait(provider) > 0,
            )
            for model in {place.model: None for place in known if place.model and place.key in keys}:
                place, well = self._pick(name, keys, model, now)
                ward = known.get(place, _NEW)
                states[f"{name}/{model}"] = ProviderState(
                    key=not missing,
                    missing=missing,
                    healthy=well,
                    state=max(states[name].state, ward.breaker.state(now), key=_WORSE.index),
                    latency_p50_ms=ward.latency_ms,
                    error_rate=ward.error_rate(now),
                    limited=states[name].limited,
                )
        return states

    def _note_dues(self, policy: Policy, names: Iterable[str], now: float) -> None:
        """When time alone changes something about these providers."""
        for name in names:
            wards = self._wards.get(name, {}).values()
            moments = [ward.changes_at(now) for ward in wards]
            if self._limits is not None and name in policy.providers:
                moments.append(now + self._limits.wait(policy.providers[name]))
            self._dues[name] = min((moment for moment in moments if moment > now), default=float("inf"))
        self._due = min(self._dues.values(), default=float("inf"))

    def snapshot(self, policy: Policy, credentials: Credentials) -> list[JsonObject]:
        """For people: one row per provider, with the models that were tried. Of keys that are no longer used, nothing."""
        now = self._monotonic()
        rows: list[JsonObject] = []
        for name, provider in policy.providers.items():
            wards, keys = self._wards.get(name, {}), identities(provider, credentials, "")
            known = [
                (place, ward)
                for place, ward in wards.items()
                if place == Place(name) or place.key in keys or provider.auth == "client"
            ]
            whole = wards.get(Place(name), _NEW)
            # Of several keys the one that is asked next speaks for the provider; of callers' logins, all do.
            now_asked = (
                self._pick(name, keys, "", now)[0].wider() if len(keys) > 1 else (p for p, _ in known if not p.model)
            )
            rows.append(
                {
                    "provider": name,
                    "enabled": provider.enabled,
                    "key": not credentials.missing(provider),
                    **self._told([wards.get(place, _NEW) for place in now_asked], now),
                    **self._told_keys(provider, credentials, now),
                    "latencyMs": whole.latency_ms,
                    "errorRate": whole.error_rate(now),
                    "limits": self._limits.report(provider) if self._limits is not None else {},
                    "limitedForSeconds": round(self._limits.wait(provider), 1) if self._limits is not None else 0.0,
                    "models": [
                        {
                            "model": place.model,
                            **_labelled(credentials.label(provider, place.key)),
                            **self._told([ward], now),
                            "latencyMs": ward.latency_ms,
                            "errorRate": ward.error_rate(now),
                        }
                        for place, ward in known
                        if place.model
                    ],
                }
            )
        return rows

    def _told_keys(self, provider: Provider, credentials: Credentials, now: float) -> JsonObject:
        """Each key of a provider that has several, by the name of its variable."""
        keys, known = credentials.keys(provider), self._wards.get(provider.name, {})
        if len(keys) < 2:
            return {}
        wards = [known.get(Place(provider.name, key.digest), _NEW) for key in keys]
        return {"keys": [{"key": k.env, **self._told([w], now)} for k, w in zip(keys, wards, strict=True)]}

    def _told(self, wards: list[Ward], now: float) -> JsonObject:
        """State, reason and until when, of places that hold together."""
        ward = max(wards, key=lambda w: (w.until(now), _WORSE.index(w.breaker.state(now))), default=_NEW)
        return {
            "healthy": all(w.ready(now) for w in wards),
            "state": max((w.breaker.state(now) for w in wards), key=_WORSE.index, default="closed"),
            "reason": ward.reason(now),
            "retryInSeconds": round(ward.until(now) - now, 1),
        }


def identities(provider: Provider, credentials: Credentials, login: str) -> tuple[str, ...]:
    """Credentials that an attempt at `provider` may use, by digest: the caller's own where the row takes that, else ours.

    One at least: the empty one, where none is needed or none is there.
    """
    return (login,) if provider.auth == "client" else credentials.digests(provider)


def _labelled(key: str) -> JsonObject:
    return {"key": key} if key else {}
