"""The folder of kept answers: bytes in, bytes out, bounded; and what somebody else wrote there runs nothing and reads nothing."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.store.answer_file import FILE, BytesDisk, ForeignEntry, clear, count, open_cache
from engine.store.response_cache import AnswerStore

SECRET = b"what a stranger may not read"


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


class Place:
    """A folder with one answer in it, a file beside it, and a trap."""

    def __init__(self, base: Path) -> None:
        self.folder = base / "answers"
        base.mkdir(exist_ok=True)
        self.beside = base / "beside.txt"
        self.beside.write_bytes(SECRET)
        self.sprung = base / "sprung"
        self.logged: list[str] = []

    def store(self) -> AnswerStore:
        return AnswerStore(self.folder, limit=1 << 20, log=lambda event, **_: self.logged.append(event))

    async def written(self) -> None:
        store = self.store()
        store.flight("key")
        store.land("key", b"answer", keep=60)
        await store.close()

    def sql(self, statement: str, *values: Any) -> None:
        with sqlite3.connect(self.folder / FILE) as file:
            file.execute(statement, values)
        file.close()

    async def used(self) -> list[bytes | None]:
        """Read, write, read anew, let everything end and be cleared."""
        store = self.store()
        found = [await store.get("key"), await store.get("other")]
        for name in ("key", "new"):
            store.flight(name)
            store.land(name, b"x" * 100_000, keep=60)
        found += [await store.get("key"), await store.get("new")]
        for number in range(30):  # beyond the limit: rows are culled, with what they name
            store.land(f"more-{number}", b"y" * 100_000, keep=60)
        found.append(await store.get("more-29"))
        await store.close()
        clear(self.folder)
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


ATTACKS: dict[str, Callable[[Place], None]] = {
    "a pickle as value": lambda p: p.sql("UPDATE Cache SET mode = 4, value = ?", pickle.dumps(Payload(p.sprung))),
    "a pickle as key": lambda p: p.sql("UPDATE Cache SET raw = 0, key = ?", pickle.dumps(Payload(p.sprung))),
    "a pickle as both": lambda p: p.sql(
        "INSERT INTO Cache (key, raw, store_time, access_time, mode, value) VALUES (?, 0, 0, 0, 4, ?)",
        pickle.dumps(Payload(p.sprung)),
        pickle.dumps(Payload(p.sprung)),
    ),
    "a pickle in a file": lambda p: (
        p.beside.write_bytes(pickle.dumps(Payload(p.sprung))),
        p.sql("UPDATE Cache SET mode = 4, value = NULL, filename = '../beside.txt'"),
    )[1],
    "a file as bytes": lambda p: p.sql("UPDATE Cache SET mode = 2, value = NULL, filename = '../beside.txt'"),
    "a file by its full path": lambda p: p.sql("UPDATE Cache SET mode = 2, filename = ?", str(p.beside)),
    "a file as text": lambda p: p.sql("UPDATE Cache SET mode = 3, value = NULL, filename = '../beside.txt'"),
    "a file beside bytes": lambda p: p.sql("UPDATE Cache SET filename = '../beside.txt'"),
    "a file to delete": lambda p: p.sql("UPDATE Cache SET filename = '../beside.txt', expire_time = 1"),
    "text for bytes": lambda p: p.sql("UPDATE Cache SET value = 'text'"),
    "a number for bytes": lambda p: p.sql("UPDATE Cache SET value = 7"),
    "a setting that is a method": lambda p: p.sql("INSERT INTO Settings VALUES ('get', 'x')"),
    "a setting that is a statement": lambda p: p.sql("INSERT INTO Settings VALUES ('sqlite_x = 1; ATTACH', 'x')"),
    "a pickle protocol of text": lambda p: p.sql("UPDATE Settings SET value = 'x' WHERE key = 'disk_pickle_protocol'"),
    "a size of text": lambda p: p.sql("UPDATE Settings SET value = 'x' WHERE key = 'size'"),
    "no database": lambda p: (p.folder / FILE).write_bytes(b"no database at all" * 100) and None,
    "an empty file": lambda p: (p.folder / FILE).write_bytes(b"") and None,
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_a_stranger_wrote_runs_and_reads_nothing(attack: str, place: Place) -> None:
    """Whatever stands in the file: it is a miss, nothing outside the folder is read, run or deleted, new answers are kept."""
    await place.written()
    ATTACKS[attack](place)
    before = place.beside.read_bytes()
    found = await place.used()
    assert not place.sprung.exists(), "a payload ran"
    assert place.beside.read_bytes() == before, "a file was deleted or written"
    assert not any(SECRET in value for value in found if value), "a file was read"
    assert found[0] in {None, b"answer"}
    assert found[-1] == b"y" * 100_000
    for value in found:
        assert value is None or type(value) is bytes


async def test_the_payload_would_run_elsewhere(place: Place) -> None:
    """The traps are armed: diskcache's own disk springs them."""
    import diskcache

    await place.written()
    ATTACKS["a pickle as value"](place)
    with diskcache.Cache(str(place.folder)) as cache:
        cache.get("key")
    assert place.sprung.exists()


@pytest.mark.parametrize("value", ["text", 1, 1.0, None, True, bytearray(b"x"), ["x"]])
def test_only_bytes_are_kept_under_text(value: object) -> None:
    disk = BytesDisk("/nowhere")
    for refused in (
        lambda: disk.store(value, read=False),
        lambda: disk.fetch(1, None, value, read=False),
        lambda: disk.put(b"bytes" if value == "text" else value),
        lambda: disk.get("key", 0),
    ):
        with pytest.raises(ForeignEntry):
            refused()


async def test_files_are_for_their_owner_alone(place: Place) -> None:
    await place.written()
    assert place.folder.stat().st_mode & 0o777 == 0o700
    assert (place.folder / FILE).stat().st_mode & 0o777 == 0o600


async def test_the_size_is_bounded(place: Place) -> None:
    """Far more is written than fits; the newest are there, the file stays near its limit."""
    store = place.store()
    for number in range(200):
        store.land(f"k{number}", bytes([number]) * 50_000, keep=3600)
    assert await store.get("k199") == bytes([199]) * 50_000
    assert await store.get("k0") is None
    await store.close()
    number, size = count(place.folder)
    assert size <= 1.2 * (1 << 20)
    assert 5 < number < 30


@pytest.mark.parametrize("opened", [True, False], ids=["in use", "not opened yet"])
async def test_the_size_can_change(opened: bool, place: Place) -> None:
    """A new bound holds for what is kept from then on, larger or smaller, and is the one it is opened with."""
    store = place.store()
    if opened:
        assert await store.get("k") is None
    store.limit(8 << 20)
    for number in range(100):
        store.land(f"k{number}", bytes([number]) * 50_000, keep=3600)
    assert await store.get("k0") == bytes([0]) * 50_000, "five megabytes fit now"
    store.limit(1 << 20)
    for number in range(100, 150):
        store.land(f"k{number}", bytes([number]) * 50_000, keep=3600)
    assert await store.get("k149") == bytes([149]) * 50_000
    await store.close()
    assert count(place.folder)[1] <= 1.2 * (1 << 20)


async def test_clearing_and_counting(place: Place) -> None:
    assert clear(place.folder) == 0
    assert count(place.folder) == (0, 0)
    await place.written()
    assert count(place.folder) == (1, 6)
    assert clear(place.folder) == 1
    assert count(place.folder) == (0, 0)


async def test_the_command_clears(place: Place) -> None:
    """As `sbgw cache clear`, and a second time there is nothing."""
    from click.testing import CliRunner

    from engine.cli import cli

    await place.written()
    asked = ["cache", "clear", "--state-dir", str(place.folder.parent)]
    assert CliRunner().invoke(cli, asked).output == "1 answer deleted\n"
    assert CliRunner().invoke(cli, asked).output == "0 answers deleted\n"


async def test_a_folder_that_cannot_be_is_a_miss(tmp_path: Path) -> None:
    """Said once; the request goes on."""
    (tmp_path / "answers").write_text("a file where the folder should be")
    place = Place(tmp_path)
    store = place.store()
    for _ in range(3):
        assert await store.get("key") is None
    store.land("key", b"x", keep=1)
    await store.close()
    assert place.logged == ["answer_cache_failed"]


async def test_a_link_leads_nowhere(place: Place, tmp_path: Path) -> None:
    """A link in place of the file goes, and what it led to stays as it was; a folder that is a link is not used at all."""
    other = tmp_path / "other"
    with open_cache(other, 1 << 20) as cache:
        cache.set("key", b"somebody else's", expire=60)
    before = (other / FILE).read_bytes()
    place.folder.mkdir()
    (place.folder / FILE).symlink_to(other / FILE)
    assert await place.used() == [None, None, b"x" * 100_000, b"x" * 100_000, b"y" * 100_000]
    assert (other / FILE).read_bytes() == before
    linked = Place(tmp_path / "linked")
    linked.folder.symlink_to(other)
    store = linked.store()
    assert await store.get("key") is None
    store.land("key", b"mine", keep=60)
    await store.close()
    assert linked.logged == ["answer_cache_failed"]
    assert (other / FILE).read_bytes() == before


async def test_a_folder_of_somebody_else_is_not_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.written()
    monkeypatch.setattr("os.geteuid", lambda: place.folder.stat().st_uid + 1)
    store = place.store()
    assert await store.get("key") is None
    await store.close()
    assert place.logged == ["answer_cache_failed"]


async def test_who_waits_gets_what_lands(place: Place) -> None:
    store = place.store()
    assert store.flight("k") is None
    waiting = store.flight("k")
    assert waiting is not None
    store.land("k", b"answer")
    assert await asyncio.wait_for(waiting, 1) == b"answer"
    assert store.flight("k") is None, "the next one is the first again"
    store.land("k", None)
    assert await store.get("k") is None, "nothing was to be kept"
    await store.close()


def test_a_cache_of_ours_is_kept(tmp_path: Path) -> None:
    """Opening it anew throws nothing away."""
    for _ in range(2):
        with open_cache(tmp_path, 1 << 20) as cache:
            cache.set("k", b"v", expire=60)
            assert len(cache) == 1
    with open_cache(tmp_path, 2 << 20) as cache:
        assert cache.get("k") == b"v"
