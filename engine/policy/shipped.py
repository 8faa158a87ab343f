"""Finds the files that come with the gateway: the same from a checkout and from an installed wheel."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

Kind = Literal["policies", "schemas"]

_ENGINE = Path(__file__).resolve().parent.parent


@lru_cache(maxsize=4)
def shipped_folder(kind: Kind) -> Path:
    """The folder of shipped policies or schemas. Raises FileNotFoundError when the installation is damaged."""
    for folder in (_ENGINE / "_data" / kind, _ENGINE.parent / kind):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the gateway's own {kind} are missing; install it anew")


def find_shipped(kind: Kind, name: str) -> Path:
    """The shipped file `name`. Raises FileNotFoundError; a name never leads out of the folder."""
    path = shipped_folder(kind) / name
    if path.name != name or not path.is_file():
        raise FileNotFoundError(f"there is no shipped file {name}")
    return path


def shipped_policies() -> tuple[str, ...]:
    """Names of the shipped policies, sorted."""
    files = shipped_folder("policies").glob("*.yaml")
    return tuple(
        sorted(
            f.stem for f in files if f.stem not in {"providers", "models", "secrets"} and not f.stem.endswith(".test")
        )
    )
