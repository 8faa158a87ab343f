"""Redaction: every kind of secret in every carrier is found, clean text is left alone, streams and wholes are the same."""

from __future__ import annotations

import json
import random
import re
import sys
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.llm.errors import ProviderError
from engine.store.redaction import RedactingStream, Redactor, _matches
from engine.store.secret_rules import read_rules, shipped_rules
from tests.store.secrets_made import CARRIERS, KINDS, samples

PLACEHOLDER = re.compile(r"\[secret:[a-z0-9-]+:[0-9a-f]{6}\]")


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor(salt=b"a salt of this test")


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 40
    assert len(CARRIERS) >= 6


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_is_found_behind_an_underscore(redactor: Redactor, kind: str) -> None:
    """Names are glued to keys so (`user_sk-…`); what is known by its shape alone is found there as anywhere."""
    for _, value, secret in samples(kind, 10):
        if value == secret and redactor.count(f"see {value} there".encode()):
            shown = redactor.text(f'"user_{value} there"')
            assert (value in shown, shown.startswith('"user_[secret:')) == (False, True), shown


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_secret_is_found(redactor: Redactor, kind: str, carrier: str) -> None:
    """Nothing of a secret stays, JSON stays JSON, and what stands around it is left."""
    for name, value, secret in samples(kind, 50):
        text = CARRIERS[carrier](name, value)
        clean = redactor.text(text)
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
            assert form not in clean, text
        assert PLACEHOLDER.search(clean), text
        assert redactor.count(text.encode()) >= 1
        assert redactor.text(clean) == clean, "a placeholder is no secret"
        if carrier.startswith("json"):
            json.loads(clean)


def _clean_text() -> Iterator[tuple[str, bytes]]:
    """5 MB of code and prose that hold no secret: the standard library's sources, and their documentation as text."""
    size = 0
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        parts = set(file.parts)
        if parts & {"site-packages", "dist-packages", "test", "tests"}:
            continue
        data = file.read_bytes()
        yield str(file), data
        size += len(data)
        if size > 3_500_000:
            break
    prose = 0
    for name in sorted(sys.stdlib_module_names):
        if name in {"antigravity", "this", "idlelib"} or name.startswith("_"):
            continue
        try:
            data = _documentation(name).encode()
        except Exception:  # noqa: BLE001 - a module of another platform
            continue
        yield f"documentation of {name}", data
        prose += len(data)
        if prose > 1_800_000:
            break


def _documentation(name: str) -> str:
    import pydoc
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydoc.plain(pydoc.render_doc(name))


def test_clean_code_and_prose_are_left_alone(redactor: Redactor) -> None:
    """At most one line in a hundred may be hit by mistake; in truth next to none is."""
    lines = size = 0
    hits: list[str] = []
    for name, data in _clean_text():
        lines += data.count(b"\n")
        size += len(data)
        for found, line in zip(redactor.redact(data).split(b"\n"), data.split(b"\n"), strict=False):
            if found != line:
                hits.append(f"{name}: {line[:120]!r}")
                break
    assert size > 5_000_000
    assert len(hits) <= 5, f"{len(hits)} of {lines} lines: " + "\n".join(hits)


# ── streams ──


def _document(seed: int, size: int) -> bytes:
    """Secrets of all kinds between text, about `size` bytes."""
    dice = random.Random(seed)
    parts: list[str] = []
    length = 0
    kinds = [list(samples(kind, 3)) for kind in KINDS if kind != "pem"]
    while length < size:
        name, value, _ = dice.choice(dice.choice(kinds))
        parts.append(CARRIERS[dice.choice(["env", "json", "plain", "url"])](name, value))
        parts.append("x" * dice.randrange(300) + dice.choice(["\n", " ", '"', ""]))
        length += len(parts[-1]) + len(parts[-2])
    return "".join(parts).encode()


def _streamed(redactor: Redactor, pieces: Iterator[bytes]) -> bytes:
    stream = RedactingStream(redactor)
    out = [stream.feed(piece) for piece in pieces]
    return b"".join((*out, stream.close()))


def test_a_stream_is_the_whole_at_every_split() -> None:
    """With windows of 4 KiB, so that bounds fall everywhere."""
    small = Redactor(salt=b"s", window=4096)
    data = _document(1, 12_000)
    whole = small.redact(data)
    for at in range(0, len(data), 7):
        assert _streamed(small, iter((data[:at], data[at:]))) == whole, at
    assert _streamed(small, iter([data[at : at + 1] for at in range(len(data))])) == whole


@pytest.mark.parametrize("seed", range(12))
def test_blocks_find_what_a_search_of_everything_finds(redactor: Redactor, seed: int) -> None:
    """Looking for a row only around its keywords loses none of its matches, wherever the bounds of blocks fall."""
    data = b"x" * (seed * 41) + _document(seed, 60_000)
    whole = {
        (match.start(), *rule.place(match, data), rank)
        for rank, rule in enumerate(shipped_rules())
        for match in rule.pattern.finditer(data)
    }
    around = {
        (hold, *rule.place(match, data), rank)
        for rank, places in redactor._places(data).items()
        for rule in (shipped_rules()[rank],)
        for hold, match in _matches(rule, data, places)
    }
    assert (around, len(whole) > 200) == (whole, True)


def test_the_largest_secrets_are_found_whole(redactor: Redactor) -> None:
    """Longer than what a match may need, and longer than a block, with the bounds of blocks anywhere in them."""
    body = "".join(random.Random(5).choices("abcdefghijkXYZ0123456789+/", k=12_000))
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{lines}\n-----END RSA PRIVATE KEY-----"
    for before in range(0, 1100, 97):
        for secret in (pem, f"bedrock-api-key-{body}", f"AWS_SESSION_TOKEN={body}=="):
            clean = redactor.text(f"{'y' * before} {secret} and after")
            assert (body[:64] in clean, body[-64:] in clean, clean.endswith(" and after")) == (False, False, True)


@pytest.mark.parametrize("seed", range(20))
def test_random_pieces_are_the_whole(redactor: Redactor, seed: int) -> None:
    dice = random.Random(seed)
    data = _document(seed, 300_000)
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        step = dice.choice([1, 17, 1000, 65_536, 200_000])
        pieces.append(data[at : at + step])
        at += step
    assert _streamed(redactor, iter(pieces)) == redactor.redact(data)


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_lost_between_windows(kind: str) -> None:
    """A secret wherever it stands to a window's bound: the same placeholder, nothing of it left, and it is counted."""
    small = Redactor(salt=b"s", window=16_384)
    name, value, secret = next(iter(samples(kind, 1)))
    line = f"\nexport {name}={value}\n".encode()
    for before in range(16_384 - 2 * 2048 - 2000, 16_384 + 200, 211):
        data = b"x " * (before // 2) + line + b"y " * 20_000
        clean = small.redact(data)
        assert secret.encode() not in clean, before
        assert small.count(data) >= 1, before


def test_a_run_that_never_ends_is_held_back_no_longer_than_a_window() -> None:
    """A secret-like run of a megabyte is cut: no secret is that long, and memory stays bounded."""
    stream = RedactingStream(Redactor())
    out = stream.feed(b"hvs.")
    for _ in range(256):
        out += stream.feed(b"a1" * 2048)
        assert len(stream._held) <= 128 * 1024
    assert len(out + stream.close()) < 1024 * 1024
    assert out.startswith(b"[secret:vault-token:")


# ── placeholders ──


def test_the_same_secret_has_the_same_placeholder_and_another_has_another() -> None:
    one, other = (value for _, value, _ in samples("github", 2))
    redactor = Redactor(salt=b"k")
    clean = redactor.text(f"{one} {other} token={one}")
    first, second, third = PLACEHOLDER.findall(clean)
    assert first == third != second
    assert Redactor(salt=b"another installation").text(one) != first, "the digits say nothing to who has no salt"


def test_exact_values_are_found_however_they_are_written() -> None:
    key = 'my "odd" key/with+signs'
    redactor = Redactor([key], salt=b"k")
    text = f"{key} {json.dumps(key)} {quote(key, safe='')}"
    clean = redactor.text(text)
    assert "odd" not in clean
    assert len(set(PLACEHOLDER.findall(clean))) == 1
    assert "configured-key" in clean


def test_a_short_value_is_no_secret() -> None:
    assert Redactor(["none", "x"]).text("none of x") == "none of x"


def test_clean_text_is_the_same_object(redactor: Redactor) -> None:
    data, text = b"nothing here", "nothing here"
    assert redactor.redact(data) is data
    assert redactor.text(text) is text


def test_counting_counts_different_secrets(redactor: Redactor) -> None:
    one, other = (value for _, value, _ in samples("groq", 2))
    assert redactor.count(f"{one} {one} {one}".encode()) == 1
    assert redactor.count(orjson.dumps({"a": one, "b": [other, one]})) == 2
    assert redactor.count(b"") == 0


@given(st.binary(max_size=2000))
def test_any_bytes_are_taken(data: bytes) -> None:
    """Binary, broken text and compressed bytes: no error, and what is no secret is left."""
    redactor = Redactor()
    assert redactor.redact(zlib.compress(data)) is not None
    assert _streamed(redactor, iter((data[:7], data[7:]))) == redactor.redact(data)


def test_errors_of_providers_are_scrubbed() -> None:
    key, login, token = "sk-local-test-123456", "caller-login-99999", next(iter(samples("github", 1)))[1]
    body = orjson.dumps({"error": {"message": f"bad key {key} {login} {token}"}})
    error = ProviderError(f"bad key {key} {token}", meaning="authentication", body=body, headers={"x-echo": f"{login}"})
    Redactor([key]).scrub(error, login)
    said = f"{error.message} {error.body!r} {error.headers} {error.args}"
    assert not any(secret in said for secret in (key, login, token))
    orjson.loads(error.body)


# ── the table ──


def test_every_row_is_needed_to_be_sound() -> None:
    rules = shipped_rules()
    assert len(rules) > 60
    assert all(rule.keywords for rule in rules)
    assert all(re.fullmatch(r"[a-z0-9-]+", rule.id) for rule in rules)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "a", "pattern": "(", "keywords": ["x"]}, "a: not a regular expression"),
        ({"id": "a", "pattern": "x", "keywords": ["x"], "entrpy": 3}, "unknown key 'entrpy'"),
        ({"id": "a"}, "a pattern, or near and value"),
        ({"id": "a", "near": ["x"]}, "a pattern, or near and value"),
        ({"id": "a", "pattern": "x"}, "no keywords"),
        ({"keywords": ["x"], "pattern": "x"}, "without id"),
    ],
)
def test_a_wrong_row_is_told(row: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_rules([row])
