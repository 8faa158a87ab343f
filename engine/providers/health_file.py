"""What a restart should remember of the providers: who is cooling down or broken, until when, and why.

A small file in the state folder, written when such a thing changes, which is a few times in an outage and else never. Times are
epoch seconds, for another process has another monotonic clock. No key is in it, only eight digits that tell keys apart.
A file that can't be read is no harm: the providers are found out anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import orjson

from engine.llm.messages import JsonObject
from engine.providers.health import MAX_COOL_DOWN, Health
from engine.providers.ward import Place

VERSION = 1
NAME = "health.json"


def dump(health: Health, monotonic: float, wall: float) -> bytes:
    """What holds beyond `monotonic`, which is `wall` in epoch seconds."""
    places: list[JsonObject] = []
    for place, ward in health.wards():
        breaker = ward.breaker
        if ward.cool_until <= monotonic and breaker.until is None:
            continue
        told: JsonObject = place._asdict()
        if ward.cool_until > monotonic:
            told |= {"cool_until": wall + ward.cool_until - monotonic, "cool_reason": ward.cool_reason}
        if breaker.until is not None:
            told |= {
                "open_until": wall + breaker.until - monotonic,
                "openings": breaker.openings,
                "reason": breaker.reason,
            }
        places.append(told)
    return orjson.dumps({"version": VERSION, "places": places}, option=orjson.OPT_INDENT_2)


def restore(health: Health, data: bytes, monotonic: float, wall: float) -> None:
    """Take up what `dump` gave in an earlier process. Raises ValueError for other data."""
    try:
        found = orjson.loads(data)
        if found["version"] != VERSION:
            raise ValueError(f"version {found['version']}")
        for told in found["places"]:
            place = Place(str(told["provider"]), str(told["key"]), str(told["model"]))
            cool, opened = float(told.get("cool_until", 0.0)), float(told.get("open_until", 0.0))
            if cool > wall:
                ward = health.restore(place)
                ward.cool(monotonic, min(cool - wall, MAX_COOL_DOWN), str(told["cool_reason"]))
            if opened:
                until = monotonic + min(opened - wall, MAX_COOL_DOWN)
                health.restore(place).breaker.restore(until, int(told["openings"]), str(told["reason"]))
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"not a health file: {error}") from None


class HealthFile:
    """The file of one state folder."""

    def __init__(self, folder: Path, log: Callable[..., None]) -> None:
        self._path = folder / NAME
        self._log = log

    def load(self, health: Health, monotonic: float, wall: float) -> None:
        """Fill `health` with what an earlier process knew, if there was one."""
        try:
            restore(health, self._path.read_bytes(), monotonic, wall)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._log("health_not_read", reason=type(error).__name__)

    def save(self, data: bytes) -> None:
        """Write `data` whole or not at all. Blocks; a full disk is logged."""
        new = self._path.with_suffix(".new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
            new.replace(self._path)
        except OSError as error:
            self._log("health_not_kept", reason=error.strerror)
