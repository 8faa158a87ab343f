"""The gateway's keys: made once, for their owner alone; a key of its own for a project."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store.key import gateway_key, named_key, named_keys


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """The same key comes back; one from the environment goes before it."""
    made = gateway_key(tmp_path / "state", {})
    assert gateway_key(tmp_path / "state", {}) == made
    assert gateway_key(tmp_path / "state", {"STACKBILT_GATEWAY_KEY": " mine "}) == ("mine", True)


def test_named_keys_differ_and_stay(tmp_path: Path) -> None:
    """Each name has a key, in a file that only its owner reads."""
    made = {name: named_key(tmp_path, name) for name in ("shop", "api.v2")}
    assert (named_key(tmp_path, "shop"), named_keys(tmp_path)) == (made["shop"], made)
    assert len({gateway_key(tmp_path, {})[0], *made.values()}) == 3
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "keys").iterdir()} == {0o600}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", "..", "a/b", "../key", "a b", ".hidden", "x" * 65, "naïve"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    """What is no plain name makes no file."""
    with pytest.raises(ValueError, match="letters, digits"):
        named_key(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_without_named_keys(tmp_path: Path) -> None:
    """No folder, no keys."""
    assert named_keys(tmp_path) == {}
