"""The preserve path: the client's JSON but for the model, its headers, the provider's bytes and errors as they came."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from engine.cli import cli
from tests.emulator import Emulator, Fault, Script, Turn
from tests.emulator.models import Model
from tests.judge import judged
from tests.spine import KEY, PATHS, PROTOCOLS, Behind, Call, Spine, Wire, body, policy, spine

STREAMS = {
    "anthropic-messages": (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"m","role":"assistant",'
        '"type":"message","content":[],"usage":{"input_tokens":3,"output_tokens":1},"x_new":[1,  2]}}\n\n'
        ': a comment\n\nevent: ping\ndata: {"type": "ping"}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ä 🟢"}   }\n\n'
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    ),
    "openai-responses": (
        'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","model":"m"}}\n\n'
        'event: response.brand_new\ndata: {"type":"response.brand_new","sequence_number":1, "x": "ä 🟢"}\n\n'
        'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":2,"delta":"ä 🟢"}\n\n'
        'event: response.completed\ndata: {"type":"response.completed","sequence_number":3,"response":{"id":"resp_1","model":"m",'
        '"status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":7,"total_tokens":10}}}\n\n'
    ),
    "openai-chat": (
        'data: {"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"ä 🟢"}}],"x_new": 1.50}\r\n\r\n'
        ': still here\r\n\r\n'
        'data: {"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\n'
        'data: {"id":"c1","object":"chat.completion.chunk","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7}}\r\n\r\n'
        'data: [DONE]\r\n\r\n'
    ),
}  # fmt: skip
"""Streams with what no protocol module knows: new events, comments, padding, CRLF."""


class Vendor:
    """A provider whose answer a test sets, on all three wires, and which keeps what it was sent."""

    def __init__(self) -> None:
        self.answer = b""
        self.kind = "application/json"
        self.status = "200 OK"
        self.more: dict[str, str] = {}
        self.cut = 0
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> None:
        self.calls.append(call)
        await call.open(self.kind, self.status, **self.more)
        step = self.cut or len(self.answer) or 1
        for at in range(0, len(self.answer), step):
            await call.write(self.answer[at : at + step])
            if self.cut:
                await asyncio.sleep(0)

    @property
    def last(self) -> Call:
        return self.calls[-1]


@pytest.fixture
def vendor() -> Vendor:
    """One whose answer the test sets."""
    return Vendor()


@pytest.fixture
async def gate(vendor: Vendor) -> AsyncIterator[Spine]:
    """A gateway before the vendor; the row names another model than the client, so that `model` changes."""
    async with Wire(vendor) as wire:
        text = policy(Behind("first", wire.url, PROTOCOLS))
        async with spine(text, env={"FIRST_KEY": "canary-provider-key"}) as gate:
            yield gate


ODD: dict[str, Any] = {
    "zeta": {"b": [1, 2.50, None, True, {"deep": ["ä", "🟢", "\u2028"]}], "a": ""},
    "temperature": 0,
    "metadata": {"user_id": "u", "other": 1.0e-7},
    "cache_control": {"type": "ephemeral"},
    "empty": {},
}
"""Fields that some protocol or none knows."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_request_goes_out_as_it_came(gate: Spine, vendor: Vendor, protocol: str) -> None:
    """All fields, known or not, with their values and their order; only `model` is the provider's."""
    asked = {**ODD, **body(protocol, model="first/m", stream=False), "omega": [{"thinking": "x", "signature": "s="}]}
    vendor.answer = b"{}"
    await gate.ask(protocol, asked)
    sent = orjson.loads(vendor.last.body)
    assert list(sent) == list(asked)
    assert sent == {**asked, "model": "m"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("cut", [0, 1, 7, 64], ids=lambda cut: f"cut-{cut}")
async def test_a_stream_passes_to_the_byte(gate: Spine, vendor: Vendor, protocol: str, cut: int) -> None:
    """New events, comments and padding included, however the provider's writes are cut; what is known of it is recorded."""
    vendor.answer, vendor.kind, vendor.cut = STREAMS[protocol].encode(), "text/event-stream", cut
    answer = await gate.ask(protocol, stream=True)
    assert answer.body == vendor.answer
    event = await gate.event(answer.headers["x-sbgw-event"])
    assert (event["inputTokens"], event["outputTokens"], event["status"]) == (3, 7, "success")
    assert event["stopReason"] == "end_turn"


WHOLE = {
    "anthropic-messages": b'{"type":"message","id":"msg_1","role":"assistant","model":"m","content":[{"type":"text","text":"\\u00e4"}],"stop_reason":"end_turn","usage":{"input_tokens":3,  "output_tokens":7},"x":1.50}',
    "openai-responses": b'{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"type":"message","id":"i","role":"assistant","content":[{"type":"output_text","text":"\\u00e4"}]}],"usage":{"input_tokens":3,"output_tokens":7},"x":1.50}',
    "openai-chat": b'\n\n{"id":"c1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"\\u00e4"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":7},"x":1.50}',
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_whole_answer_passes_to_the_byte(gate: Spine, vendor: Vendor, protocol: str) -> None:
    """Blanks, escapes and numbers as the provider wrote them; usage is recorded, and the digest of what was sent."""
    vendor.answer, vendor.cut = WHOLE[protocol], 5
    answer = await gate.ask(protocol)
    assert answer.body == vendor.answer
    event = await gate.event(answer.headers["x-sbgw-event"])
    assert (event["inputTokens"], event["outputTokens"]) == (3, 7)
    assert event["requestDigest"] == hashlib.sha256(vendor.last.body).hexdigest()


SENT = {
    "anthropic-messages": {
        "anthropic-version": "2023-06-01", "anthropic-beta": "a-1,b-2", "anthropic-brand-new": "n", "x-claude-code-session-id": "s",
        "x-app": "cli", "user-agent": "claude-cli/2.1.0 (external, cli)", "x-stainless-lang": "js",
    },
    "openai-responses": {
        "openai-beta": "responses=v1", "openai-brand-new": "n", "session-id": "s", "x-codex-turn-metadata": "{}", "originator": "codex_exec",
        "user-agent": "codex_exec/0.169.0", "x-client-request-id": "r",
    },
    "openai-chat": {"openai-beta": "x", "openai-brand-new": "n", "user-agent": "OpenAI/Python 3.54"},
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_vendors_own_headers_pass_and_no_others(gate: Spine, vendor: Vendor, protocol: str) -> None:
    """The vendor's prefixes are an open list; cookies, our own headers and everything else stay here."""
    kept = {"cookie": "c=1", "x-sbgw-project": "p", "x-forwarded-for": "1.2.3.4", "x-other": "o", "referer": "r"}
    vendor.answer = WHOLE[protocol]
    await gate.ask(protocol, headers={**SENT[protocol], **kept})
    got = vendor.last.headers
    assert {name: got.get(name) for name in SENT[protocol]} == SENT[protocol]
    assert sorted(got.keys() & kept.keys()) == []
    assert not [name for name in got if name.startswith("x-sbgw")]


async def test_repeated_header_lines_are_one_list(gate: Spine, vendor: Vendor) -> None:
    """Two `anthropic-beta` lines both reach the vendor."""
    vendor.answer = WHOLE["anthropic-messages"]
    asked = orjson.dumps(body("anthropic-messages"))
    await gate.raw(
        b"POST /v1/messages HTTP/1.1\r\nHost: localhost:%d\r\nx-api-key: %s\r\ncontent-type: application/json\r\n"
        b"anthropic-beta: one-1\r\nAnthropic-Beta: two-2,three-3\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
        % (gate.port, KEY.encode(), len(asked), asked)
    )
    assert vendor.last.headers["anthropic-beta"] == "one-1, two-2,three-3"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_vendors_answer_headers_pass(gate: Spine, vendor: Vendor, protocol: str, *, stream: bool) -> None:
    """Rate limits and ids reach the client; cookies, server names and encodings do not."""
    passed = {"x_request_id": "r1", "request_id": "r2", "anthropic_ratelimit_requests_remaining": "5", "openai_processing_ms": "7",
              "x_ratelimit_limit_tokens": "9"}  # fmt: skip
    vendor.more = {
        **passed,
        "set_cookie": "c=1",
        "server": "nginx",
        "alt_svc": "h3",
        "access_control_allow_origin": "*",
    }
    vendor.answer = STREAMS[protocol].encode() if stream else WHOLE[protocol]
    vendor.kind = "text/event-stream" if stream else "application/json"
    answer = await gate.ask(protocol, stream=stream)
    got = answer.headers
    assert {n.replace("_", "-"): v for n, v in passed.items()}.items() <= got.items()
    assert got.keys() & {"set-cookie", "alt-svc", "access-control-allow-origin"} == set()
    assert "nginx" not in got.get("server", "")
    assert (got["x-sbgw-model"], got["x-sbgw-route"]) == ("first/m", "fallback_safe")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_our_key_goes_out_and_theirs_stay_here(gate: Spine, vendor: Vendor, protocol: str) -> None:
    """The provider gets its own key alone: not the gateway's, not the caller's, not the caller's organisation."""
    vendor.answer = WHOLE[protocol]
    callers = {
        "authorization": "Bearer callers-own-login",
        "x-sbgw-key": KEY,
        "openai-organization": "org-caller",
        "openai-project": "proj-caller",
    }
    await gate.ask(protocol, headers=callers)
    told = vendor.last.head.decode()
    assert "canary-provider-key" in told
    assert [word for word in (KEY, "callers-own-login", "org-caller", "proj-caller") if word in told] == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", ["400", "401", "403", "404", "429", "500", "529"])
async def test_the_vendors_error_passes_unmodified(protocol: str, fault: str) -> None:
    """Status, body and `retry-after` as the vendor gave them: clients recover by its wording."""
    async with Emulator(models={"m": Model()}) as emu:
        text = policy(Behind("first", emu.url, (protocol,)), fallback={"attempts": 1})
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            emu.fail_next(Fault(fault, retry_after=17, times=2))  # type: ignore[arg-type]
            async with gate.session.post(
                emu.url(protocol) + PATHS[protocol].removeprefix("/v1" if protocol != "anthropic-messages" else ""),
                json=body(protocol),
                headers={"x-api-key": emu.key, "anthropic-version": "2023-06-01"}
                if protocol == "anthropic-messages"
                else {"authorization": f"Bearer {emu.key}"},
            ) as direct:
                theirs = await direct.json()
            answer = await gate.ask(protocol)
    ours = answer.json
    assert (answer.status, _error(ours)) == (direct.status, _error(theirs))
    if fault in ("429", "500", "529"):
        assert answer.headers["retry-after"] == "17"
    assert judged(answer).error


def _error(told: dict[str, Any]) -> Any:
    """The body without the request's own id."""
    return {k: v for k, v in told.items() if k != "request_id"}


async def test_a_models_own_error_status_reaches_no_second_vendor() -> None:
    """A 400 of the first provider is the caller's; the second one never sees the prompt."""
    async with Emulator(models={"m": Model()}) as one, Emulator(Script((Turn("two"),)), models={"m": Model()}) as two:
        behind = (Behind("first", one.url, PROTOCOLS[2:]), Behind("second", two.url, PROTOCOLS[2:]))
        async with spine(policy(*behind), env={"FIRST_KEY": one.key, "SECOND_KEY": two.key}) as gate:
            one.fail_next(Fault("400", times=6))
            statuses = [(await gate.ask(p, stream=s)).status for p in PROTOCOLS for s in (False, True)]
    assert statuses == [400] * 6
    assert two.requests == []


@pytest.mark.parametrize(("client", "wire"), [("anthropic-messages",) * 2, ("anthropic-messages", "openai-chat")])
async def test_an_operator_compares_digests(client: str, wire: str, tmp_path: Path) -> None:
    """As the README says: the record's digest is that of the file that a provider logged, preserved or translated."""
    vendor = Vendor()
    vendor.answer = WHOLE[wire]
    async with Wire(vendor) as provider:
        text = policy(Behind("first", provider.url, (wire,)))
        async with spine(text, env={"FIRST_KEY": "k"}, state=tmp_path) as gate:
            answer = await gate.ask(client, {**ODD, **body(client)})
    logged = tmp_path / "logged.json"
    logged.write_bytes(vendor.last.body)
    shown = CliRunner().invoke(cli, ["events", answer.headers["x-sbgw-event"], "--json", "--state-dir", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert orjson.loads(shown.output)["requestDigest"] == hashlib.sha256(logged.read_bytes()).hexdigest()
