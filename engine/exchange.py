"""One request's way through the gateway: what the stages hand on to each other, and what they may use.

`Exchange` is the only mutable thing of a request; `Services` is what lives as long as the gateway. A stage takes both and
nothing else, so a test needs no server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine.llm.errors import GatewayError
from engine.llm.messages import JsonObject, LLMResponse, Tool, Usage
from engine.llm.protocol import StreamEncoder, Survey, Tapped, Target, WireProtocol
from engine.llm.stream import StreamEvent
from engine.policy.clients import ClientIdentity
from engine.policy.decision import Candidate, Decision, Facts
from engine.providers.calibration import Calibration
from engine.providers.heard import Heard
from engine.providers.retries import RetryBudgets

if TYPE_CHECKING:
    from engine.exports import Exports
    from engine.llm.returning import Seals
    from engine.memory.conversations import Memory
    from engine.memory.known import Known
    from engine.policy.decide import Case
    from engine.policy.model import Policy
    from engine.protocols.tool_checks import ToolCheckCache
    from engine.providers.credentials import Credentials
    from engine.providers.health import Health
    from engine.providers.limits import Limits, Taken
    from engine.providers.prices import PriceTable
    from engine.providers.transport import Transport, Upstream
    from engine.providers.ward import Trial
    from engine.shadow import Shadow
    from engine.stages.bill import Bill
    from engine.stages.client_stream import ClientStream
    from engine.stages.tape import Tape
    from engine.store.event import Unhedged
    from engine.store.prefixes import Look, Prefixes
    from engine.store.protocol import EventStore
    from engine.store.purse import Hold, Purses
    from engine.store.redaction import Redactor
    from engine.store.response_cache import AnswerStore
    from engine.store.sessions import Sessions
    from engine.store.traces import TraceStore
    from engine.telemetry.metrics import Metrics


class Responder(Protocol):
    """The way back to the client. The server's is an HTTP response; the demo's and the tests' are lists."""

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers of a streamed answer. Called at most once."""

    async def write(self, data: bytes) -> None:
        """Send bytes of a started stream; waits while the client is slow, raises ConnectionError when it left."""

    @property
    def started(self) -> bool:
        """Whether headers have gone out."""


@dataclass(slots=True)
class Attempt:
    """One try at one candidate, for the event. Times in milliseconds; `started_ms` since the exchange began, others since then."""

    candidate: Candidate
    started_ms: float
    waited_ms: float = 0.0
    """How long the gateway waited before it, because it was told to or backed off."""
    latency_ms: float = 0.0
    first_event_ms: float | None = None
    """To the provider's first content, held back or not."""
    status: int = 0
    """The provider's HTTP status, 0 when there was none."""
    meaning: str = ""
    """Empty when it succeeded, else how it failed."""
    message: str = ""
    passed_over: tuple[str, ...] = ()
    """`provider/model` of those whose turn it was, but which were failing, or had as many attempts as they may."""
    trial: Trial | None = None
    """Its account with the providers' health, for what goes wrong after its answer has begun."""
    taken: Taken | None = None
    """Its share of the provider's limits."""
    spent: Usage | None = None
    """What its provider counted for an answer that was not taken."""
    key: str = ""
    """The variable that held the key, of a provider that has several."""
    hints: tuple[str, ...] = ()
    """What was added for the provider's prompt cache: `marks newest long key affinity`."""
    heard: Heard = field(default_factory=Heard)
    """How much of a stream came."""
    digest: str = ""
    """SHA-256 of the body that went to the provider."""
    losses: tuple[str, ...] = ()
    """Loss codes that really happened in its translation, once it has answered."""
    hedge: bool = False
    """It began beside the one before it, which was slow."""
    unhedged: Unhedged | Literal[""] = ""
    """Why nobody was asked beside it, though it was slow."""


@dataclass(slots=True)
class CallTally:
    """Tool calls of an exchange's answers that were checked, those of a candidate that was given up included."""

    repaired: int = 0
    invalid: int = 0


@dataclass(slots=True)
class Answer:
    """What a candidate answered, committed: its first real content has been seen. One of the four carriers is set."""

    candidate: Candidate
    target: Target
    upstream: Upstream
    headers: Mapping[str, str]
    body: bytes | None = None
    """Whole, in the client's own protocol: passes as it is."""
    response: LLMResponse | None = None
    """Whole, translated."""
    relay: AsyncGenerator[Relayed, None] | None = None
    """Streamed, in the client's own protocol."""
    events: AsyncGenerator[list[StreamEvent], None] | None = None
    """Streamed, translated: the events of one read at a time."""
    encoder: StreamEncoder | None = None
    """Says `events` to the client. Made before the request was dropped, which it may echo."""
    tapped: Tapped | None = None
    """What is known of a preserved answer that came whole, though it may be told as a stream."""
    heard: Heard = field(default_factory=Heard)
    """How much of a stream came."""


@dataclass(slots=True, frozen=True)
class Relayed:
    """Whole frames of a preserved stream, with what is known after them."""

    data: bytes
    tapped: Tapped


@dataclass(slots=True)
class Reply:
    """What the client gets after the record: the whole answer, or the end of a stream that has begun."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(slots=True)
class Exchange:
    id: str
    wire: WireProtocol
    identity: ClientIdentity
    headers: Mapping[str, str]
    """The client's request headers, names in lower case."""
    raw: bytes
    started: float
    """Monotonic seconds."""
    wall: datetime
    responder: Responder
    caller_credential: Mapping[str, str]
    """The caller's own credential headers, for a provider with `auth: client`; empty when it sent only our key."""
    policy: Policy
    """The policy of this exchange; a reload does not touch it."""
    login: str = ""
    """Digest of `caller_credential`, empty without one."""
    passed: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    """What of `headers` goes on to a provider, by its protocol and `auth`."""

    shadow: Shadow | None = None
    """The policy that watches, if any."""
    shadow_signals: dict[str, bool] = field(default_factory=dict)
    shadow_budgets: JsonObject = field(default_factory=dict)
    """What is spent of its budgets, as its facts have it."""

    body: JsonObject | None = None
    """The parsed request. Let go of while a provider answers (holding it costs half as much CPU again: the garbage
    collector walks it), and read anew from `raw` if another candidate needs it."""
    known: Known | None = None
    """The same, with what of it was worked on for an earlier request. Let go of with `body`."""
    offered: tuple[Tool, ...] | None = None
    """The tools that the request offers, once it has been decoded."""
    survey: Survey | None = None
    prefix: Look | None = None
    """What is warm for the prompt."""
    prompt: str = ""
    """Digest of what the user has just said (`engine.store.sessions.prompt_digest`)."""
    facts: Facts = field(default_factory=dict)
    origin: JsonObject = field(default_factory=dict)
    """What its event says of where it comes from, once that is known."""
    case: Case | None = None
    decision: Decision | None = None
    attempts: list[Attempt] = field(default_factory=list)
    """In the order in which they began."""
    served: Attempt | None = None
    """The one of them that answered, be it the last or not; None without an answer, and for one that was kept."""
    bare: set[str] = field(default_factory=set)
    """Candidates (`provider/name`) that refused the history's reasoning state, and get it no more."""
    calls: CallTally | None = None
    """Set when a model's tool calls are checked."""
    answer: Answer | None = None
    error: GatewayError | None = None
    tape: Tape | None = None
    """Set when the exchange is traced, or its answer may be kept."""
    answer_key: str = ""
    """What its answer is kept under, while others may wait for it."""
    cache_hit: bool = False
    """The answer was kept from an earlier request: nobody was asked."""
    saved: Usage | None = None
    """What the kept answer used when it was made."""
    stream: ClientStream | None = None
    """Set when the client asked for a stream."""
    reply: Reply | None = None
    tapped: Tapped | None = None
    """Usage, stop reason and model of the answer as far as it came."""
    hold: Hold | None = None
    """What it has reserved of the budgets."""
    counted: int = 0
    """`Purses.version` that its facts were made with."""
    bill: Bill | None = None
    """Set when the exchange is recorded."""
    first_event_ms: float | None = None
    cancelled: bool = False
    path: list[str] = field(default_factory=list)
    """Ids of the steps taken, with the exit where one was used: `gate`, `gate.deny`."""

    @property
    def logins(self) -> tuple[str, ...]:
        """The caller's own credential, with and without the word before it (`Bearer`): nobody may repeat it."""
        values = self.caller_credential.values()
        return (*values, *(bare for value in values if (bare := value.partition(" ")[2])))


@dataclass(slots=True, frozen=True)
class Spend:
    day_usd: float = 0.0
    month_usd: float = 0.0


class Simulated(Protocol):
    """The provider that answers in process."""

    async def __call__(self, protocol: str, body: JsonObject, *, model: str, stream: bool) -> Upstream:
        """The answer to `body`, like an HTTP one. Raises ProviderError for a scripted lost connection."""


@dataclass(slots=True)
class Services:
    """What stages may use. Everything non-deterministic is here, so a test passes its own."""

    protocols: Mapping[str, WireProtocol]
    credentials: Credentials
    redactor: Redactor
    transport: Transport
    health: Health
    limits: Limits
    prices: PriceTable
    ledger: EventStore
    metrics: Metrics
    exports: Exports
    sessions: Sessions
    tool_checks: ToolCheckCache
    prefixes: Prefixes
    memory: Memory
    seals: Seals
    monotonic: Callable[[], float]
    now: Callable[[], datetime]
    uniform: Callable[[float, float], float]
    """A random number between two others, for jitter."""
    sleep: Callable[[float], Awaitable[Any]]
    log: Callable[..., None]
    """`log(event, **fields)`: one structured line; never text, keys or headers."""
    spend: Callable[[datetime], Spend]
    """Money spent on the day and in the month of a moment."""
    purses: Purses
    """What is spent and reserved of the policy's budgets."""
    simulated: Simulated
    retries: RetryBudgets = field(default_factory=RetryBudgets)
    calibration: Calibration = field(default_factory=Calibration)
    traces: TraceStore | None = None
    answers: AnswerStore | None = None
    """Both None where there is no folder for them."""


def looks_for_secrets(exchange: Exchange) -> bool:
    """Whether a policy asks how many secrets the request holds: the one that serves, or the one that watches."""
    shadow = exchange.shadow
    return exchange.policy.reads_secrets or (shadow is not None and shadow.policy.reads_secrets)
