"""HTTP in and out: paths, envelopes, keys, bodies, limits."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

import orjson
import pytest
import pytest_asyncio
import zstandard

from engine import bodies, patience
from engine.patience import Patience
from engine.policy.load import load_policy
from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.judge import judged
from tests.spine import KEY, PATHS, PROTOCOLS, Answer, Behind, Spine, body, policy, spine

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROWS = {"m": Model()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate() -> AsyncIterator[Spine]:
    """A gateway before a healthy provider, for tests that do no harm. Its largest body is 1 MiB."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("openai-chat",)), settings={"limits": {"max_body_mib": 1}})
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            yield gate


def kind(answer: Answer) -> str:
    """Whose envelope an error has."""
    told = answer.json
    assert told["error"]["message"]
    if told.get("type") == "error":
        return "anthropic"
    return "openai" if "code" in told["error"] else "?"


# ── paths ──


@pytest.mark.parametrize(
    ("path", "headers", "envelope"),
    [
        ("/v1/messages/nothing", {}, "anthropic"),
        ("/v1/responses/nothing", {}, "openai"),
        ("/v1/chat/nothing", {}, "openai"),
        ("/nothing", {}, "openai"),
        ("/nothing", {"anthropic-version": "2023-06-01"}, "anthropic"),
        ("/v1/../etc/passwd", {}, "openai"),
        ("/v1/models/..%2f..%2fetc%2fpasswd", {}, "openai"),
        ("//evil/v1/messages", {}, "anthropic"),
        ("/v1/%00", {}, "openai"),
        ("/dashboard/../../x", {}, "openai"),
    ],
)  # fmt: skip
async def test_an_unknown_path_is_404_in_the_right_envelope(
    gate: Spine, path: str, headers: dict[str, str], envelope: str
) -> None:
    """By path, else by the Anthropic header; with `x-should-retry: false`."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    told = await gate.raw(
        f"GET {path} HTTP/1.1\r\nHost: localhost:{gate.port}\r\nx-api-key: {KEY}\r\nConnection: close\r\n{more}\r\n".encode()
    )
    head, _, rest = told.partition(b"\r\n\r\n")
    assert head.split()[1] == b"404", told
    assert kind(Answer("", False, 404, {}, rest)) == envelope
    assert b"x-should-retry: false" in head.lower()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_another_method_is_405_in_the_right_envelope(gate: Spine, method: str, protocol: str) -> None:
    """And says which one is right."""
    answer = await gate.send(method, PATHS[protocol])
    assert (answer.status, kind(answer)) == (405, "anthropic" if protocol == "anthropic-messages" else "openai")
    assert "POST" in answer.json["error"]["message"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("prefix", ["/v1", "/v1/v1"])
async def test_a_doubled_prefix_is_understood(gate: Spine, protocol: str, prefix: str) -> None:
    """Clients that add `/v1` to a base URL that has it; and Anthropic's `?beta=true`."""
    path = prefix + PATHS[protocol].removeprefix("/v1")
    answer = await gate.ask(protocol, path=path + ("?beta=true" if protocol == "anthropic-messages" else ""))
    assert judged(answer).text == "Hello from the emulator."


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("path", ["/", "/api/hello", "/health"])
async def test_connectivity_checks_need_no_key(gate: Spine, method: str, path: str) -> None:
    """Claude Code's, and a health check; they name no provider and no key."""
    answer = await gate.send(method, path, headers={"x-sbgw-key": ""})
    assert answer.status == 200
    assert [word for word in ("first", KEY, "FIRST_KEY") if word in answer.body.decode()] == []


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/events/recent", "/v1/models/m", "/nothing", "/events/x"])
async def test_everything_else_needs_the_key(gate: Spine, path: str) -> None:
    """Paths that do not exist included: default deny."""
    for headers in (
        {"x-api-key": "wrong"},
        {"authorization": "Bearer "},
        {"x-sbgw-key": KEY[:-1]},
        {"authorization": "Basic " + KEY},
    ):
        answer = await gate.send("GET", path, headers=headers)
        assert (answer.status, answer.headers["x-should-retry"]) == (401, "false")
        assert KEY not in answer.body.decode()


async def test_a_key_that_is_no_text_is_wrong(gate: Spine) -> None:
    """Bytes that are no UTF-8, in a key and elsewhere: 401 and 200, no defect."""
    start = f"GET /v1/models HTTP/1.1\r\nHost: localhost:{gate.port}\r\nConnection: close\r\n".encode()
    assert b" 401 " in (await gate.raw(start + b"x-api-key: \xff\xfe\r\n\r\n"))[:20]
    found = await gate.raw(
        start + b"x-api-key: " + KEY.encode() + b"\r\nuser-agent: \xff\r\nx-sbgw-project: \xfe\r\n\r\n"
    )
    assert b" 200 " in found[:20]
    assert [line for line in gate.logged if line["event"] == "defect"] == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_header_bytes_that_are_no_text_do_no_harm(gate: Spine, protocol: str) -> None:
    """They are passed on, recorded and answered as question marks."""
    asked = orjson.dumps(body(protocol))
    told = await gate.raw(
        b"POST %s HTTP/1.1\r\nHost: localhost:%d\r\nx-api-key: %s\r\nuser-agent: claude-cli/\xff\xfe\r\nanthropic-beta: \xff\r\n"
        b"x-claude-code-session-id: \xff\r\nsession-id: \xff\r\nopenai-beta: \xff\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
        % (PATHS[protocol].encode(), gate.port, KEY.encode(), len(asked), asked)
    )
    assert b" 200 " in told[:20], told
    assert (await gate.newest())["status"] == "success"


async def test_a_websocket_is_told_to_use_post(gate: Spine) -> None:
    """426 for Codex's first try; 405 for a plain GET."""
    headers = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "x" * 22 + "==",
    }
    assert (await gate.send("GET", "/v1/responses", headers=headers)).status == 426
    assert (await gate.send("GET", "/v1/responses")).status == 405


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.test"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.test"}]
)
@pytest.mark.parametrize("path", ["/", "/health", "/v1/messages", "/metrics"])
async def test_web_pages_and_other_names_are_refused(gate: Spine, path: str, headers: dict[str, str]) -> None:
    """Whatever they ask for, and no CORS header is ever sent."""
    answer = await gate.send(
        "POST" if "messages" in path else "GET", path, b"{}" if "messages" in path else None, headers
    )
    assert answer.status in (403, 421)
    assert not [name for name in answer.headers if name.startswith("access-control")]


# ── bodies ──


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 400, "no body"),
        (b"   \n", 400, "no body"),
        (b'{\n  "model": "m",\n  "messages": [oops]\n}', 400, "line 3, column 16"),
        (b'{"model": "m"', 400, "line 1"),
        (b"[1, 2]", 400, "must be a JSON object"),
        (b"null", 400, "must be a JSON object"),
        (b'"text"', 400, "must be a JSON object"),
        (b'{"a": NaN}', 400, "not valid JSON"),
        (b'{"a": "\\ud800"}', 400, "not valid JSON"),
        (b'{"a": "\xff\xfe"}', 400, "not valid JSON"),
        (b"[" * 100_000, 400, ""),
        (b'{"a":' * 100_000, 400, ""),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_request(gate: Spine, protocol: str, data: bytes, status: int, words: str) -> None:
    """400 in the protocol's envelope that says where, never what; recorded, and not to be repeated."""
    answer = await gate.send("POST", PATHS[protocol], data, protocol=protocol)
    assert (answer.status, answer.headers["x-should-retry"]) == (status, "false")
    assert words in answer.json["error"]["message"]
    assert "oops" not in answer.body.decode()
    event = await gate.event(answer.headers["x-sbgw-event"])
    assert (event["status"], event.get("attempts", [])) == ("error", [])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("depth", [200, 900, 1000])
async def test_deep_json_is_no_defect(gate: Spine, protocol: str, depth: int) -> None:
    """In a schema, a tool call, a message: served or refused, in time, without a 500."""
    deep: Any = "x"
    for _ in range(depth):
        deep = {"a": deep} if depth % 400 else [deep]
    schema = {"type": "object", "properties": deep if isinstance(deep, dict) else {"a": deep}}
    asked = body(protocol) | {
        "tools": [{"name": "t", "input_schema": schema, "type": "function", "parameters": schema, "function": {"name": "t", "parameters": schema}}],
        "metadata": {"x": deep},
    }  # fmt: skip
    for field in ("messages", "input"):
        if field in asked:
            asked[field] = [*asked[field], {"role": "user", "content": [{"type": "text", "text": "x", "extra": deep}]}]
    if protocol == "anthropic-messages":
        asked["tools"] = [{"name": "t", "input_schema": schema}]
    try:
        data = orjson.dumps(asked)
    except (orjson.JSONEncodeError, RecursionError):
        data = (b'{"a":' * depth) + b"1" + b"}" * depth
    answer = await gate.send("POST", PATHS[protocol], data, protocol=protocol)
    assert answer.status in (200, 400), answer.body
    assert answer.took < 2


@pytest.mark.parametrize("kind_sent", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_only_json_is_taken(gate: Spine, kind_sent: str) -> None:
    """415 for what a web page may send without asking."""
    answer = await gate.send("POST", "/v1/messages", b"{}", {"content-type": kind_sent})
    assert (answer.status, kind(answer)) == (415, "anthropic")


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress, "identity": bytes}


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_packed_bodies_are_read(gate: Spine, encoding: str, protocol: str) -> None:
    """Codex sends zstd."""
    data = PACK[encoding](orjson.dumps(body(protocol)))
    answer = await gate.send("POST", PATHS[protocol], data, {"content-encoding": encoding}, protocol=protocol)
    assert judged(answer).text == "Hello from the emulator."


@pytest.mark.parametrize("encoding", PACK)
async def test_large_bodies_are_refused(gate: Spine, encoding: str) -> None:
    """Beyond the cap, packed or not: 413 in the envelope, and the next request is served."""
    data = PACK[encoding](b'{"a": "' + b"x" * (1 << 20) + b'"}')
    answer = await gate.send("POST", "/v1/messages", BytesIO(data), {"content-encoding": encoding})
    assert (answer.status, kind(answer)) == (413, "anthropic")
    assert (await gate.ask("openai-chat")).status == 200


async def test_a_large_body_in_chunks_is_refused(gate: Spine) -> None:
    """Without a declared length as well."""
    head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost:{gate.port}\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    assert b" 413 " in (await gate.raw(head.encode() + chunk * 40 + b"0\r\n\r\n"))[:20]


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "rot13"])
async def test_other_packings_are_refused(gate: Spine, encoding: str) -> None:
    """415, and nothing is guessed."""
    assert (await gate.send("POST", "/v1/messages", b"{}", {"content-encoding": encoding})).status == 415


async def test_a_body_cut_off_is_no_request(gate: Spine) -> None:
    """The client goes away in the middle of its body: no event claims an answer, and no defect is logged."""
    head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost:{gate.port}\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{{"
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode())
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    assert [line for line in gate.logged if line["event"] == "defect"] == []


# ── raw HTTP ──


@pytest.mark.parametrize(
    "lines",
    [
        ["GET http://localhost:{port}/v1/models HTTP/1.1", "Host: localhost:{port}"],
        ["GET /v1/models HTTP/1.1", "Host: localhost:{port}", "Host: evil"],
        ["GET /v1/models HTTP/1.1"],
        ["POST /v1/messages HTTP/1.1", "Host: localhost:{port}", "Content-Length: 2", "Transfer-Encoding: chunked"],
        ["POST /v1/messages HTTP/1.1", "Host: localhost:{port}", "Content-Length: 2", "Content-Length: 3"],
        ["POST /v1/messages HTTP/1.1", "Host: localhost:{port}", "Transfer-Encoding: xchunked"],
        ["GET /v1/models HTTP/1.1", "Host: localhost:{port}", "X: " + "y" * 40_000],
        ["BANANA"],
        ["OPTIONS /v1/messages HTTP/1.1", "Host: localhost:{port}", "Origin: http://evil"],
    ],
)  # fmt: skip
async def test_odd_requests_are_refused(gate: Spine, lines: list[str]) -> None:
    """Smuggling, absolute targets, doubled hosts: 4xx, and the next request on another connection is served."""
    sent = "\r\n".join([*lines, f"x-api-key: {KEY}", "content-type: application/json", "", ""]).format(port=gate.port)
    found = await gate.raw(sent.encode(), wait=0.4)
    assert found[9:10] == b"4", found[:200]
    assert (await gate.ask("openai-chat")).status == 200


# ── without a key ──


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_without_keys_one_clear_error(protocol: str, *, stream: bool) -> None:
    """The default policy and an empty environment: what to set is named, and the client is told not to try again."""
    async with spine(load_policy("default")) as gate:
        asked = body(
            protocol, stream=stream, model="claude-opus-5-5" if protocol == "anthropic-messages" else "gpt-5.5"
        )
        answer = await gate.ask(protocol, asked)
        events = gate.events()
    told = judged(answer)
    assert "ANTHROPIC_API_KEY" in told.error
    assert "OPENAI_API_KEY" in told.error
    assert (400 <= answer.status < 500 or answer.status == 503, answer.headers["x-should-retry"]) == (True, "false")
    assert len(events) == 1


# ── patience ──


async def test_headers_that_do_not_come_end_the_connection(gate: Spine) -> None:
    """Half-sent and silent connections are closed in time; those that are served are not."""
    listener = gate.server.patience
    assert listener is not None
    loop = asyncio.get_running_loop()
    gate.server.patience = Patience(listener._connections, loop.time, headers_within=0.3)
    watch = asyncio.create_task(gate.server.patience.run(every=0.05))
    kept_reader, kept = await asyncio.open_connection("127.0.0.1", gate.port)
    kept.write(f"GET /health HTTP/1.1\r\nHost: localhost:{gate.port}\r\n\r\n".encode())
    began = loop.time()
    halves = [b"", b"G", b"GET / HTTP/1.1\r\nHost: loc", b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nx: 1\r\n"]
    closed = await asyncio.gather(*(gate.raw(half, wait=3) for half in halves))
    assert closed == [b""] * len(halves)
    assert 0.25 < loop.time() - began < 1.5
    kept.write(f"GET / HTTP/1.1\r\nHost: localhost:{gate.port}\r\n\r\n".encode())
    await asyncio.sleep(0.1)
    assert (await kept_reader.read(4096)).count(b"HTTP/1.1 200 OK") == 2
    kept.close()
    watch.cancel()
    gate.server.patience = listener


async def test_bodies_that_do_not_come_end_the_request(gate: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause or a drip in the body is 408 and the connection closed."""
    monkeypatch.setattr(bodies, "GAP", 0.2)
    monkeypatch.setattr(bodies, "WHOLE", 0.5)
    head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost:{gate.port}\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n"
    told = await gate.raw(head.encode() + b'{"mod', wait=3)
    assert b" 408 " in told[:20]
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode())
    began = asyncio.get_running_loop().time()
    said = b""
    with suppress(ConnectionError, TimeoutError):
        for _ in range(40):
            writer.write(b" ")
            async with asyncio.timeout(0.05):
                said = await reader.read(1000)
            break
    assert b" 408 " in said[:20] or not said
    assert asyncio.get_running_loop().time() - began < 2.5
    writer.close()


async def test_a_crowd_is_refused() -> None:
    """While as many as may be are being answered: 503 in the envelope with `retry-after`; afterwards all is well again."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("openai-chat",)))
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            assert gate.server.patience is not None
            gate.server.patience = Patience(gate.server.patience._connections, asyncio.get_running_loop().time, most=3)
            emu.fail_next(*(Fault("slow", seconds=0.3) for _ in range(3)))
            slow = [asyncio.create_task(gate.ask("openai-chat")) for _ in range(3)]
            await asyncio.sleep(0.15)
            crowded = await gate.ask("anthropic-messages")
            answers = await asyncio.gather(*slow)
            served = await gate.ask("anthropic-messages")
    assert [answer.status for answer in answers] == [200] * 3
    assert (crowded.status, crowded.headers["retry-after"], served.status) == (503, "1", 200)
    assert judged(crowded).error


async def test_idle_connections_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the most, those idle longest are closed; the newest stay."""
    monkeypatch.setattr(patience, "SETTLED", 0.0)
    async with spine(load_policy("offline")) as gate:
        assert gate.server.patience is not None
        watcher = gate.server.patience = Patience(
            gate.server.patience._connections, asyncio.get_running_loop().time, most=4
        )
        opened = [await asyncio.open_connection("127.0.0.1", gate.port) for _ in range(10)]
        for reader, writer in opened:
            writer.write(f"GET / HTTP/1.1\r\nHost: localhost:{gate.port}\r\n\r\n".encode())
            await reader.readuntil(b"}")
        watcher.look()
        await asyncio.sleep(0.05)
        assert [reader.at_eof() for reader, _ in opened] == [True] * 6 + [False] * 4
        for _, writer in opened:
            writer.close()


async def test_silent_connections_do_not_crowd_out_the_others() -> None:
    """A flood of connections that say nothing is cut back to the newest that fit."""
    async with spine(load_policy("offline")) as gate:
        assert gate.server.patience is not None
        watcher = Patience(gate.server.patience._connections, asyncio.get_running_loop().time, most=5)
        opened = [await asyncio.open_connection("127.0.0.1", gate.port) for _ in range(30)]
        await asyncio.sleep(0.05)
        watcher.look()
        await asyncio.sleep(0.05)
        assert len(list(watcher._connections())) == 5
        assert (await gate.send("GET", "/health")).status == 200
        for _, writer in opened:
            writer.close()
