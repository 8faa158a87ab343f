"""The breaker against a plain model of its rules, on a clock that only the test moves."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.providers.breaker import LEASE, LONGEST_OPEN, OPEN_SECONDS, REMEMBERED, STEPS, WINDOW, Breaker, Outcome


def after(breaker: Breaker, now: float, results: str) -> None:
    """One attempt after another: `x` fails, `.` answers."""
    for result in results:
        outcome = breaker.begin(now)
        breaker.succeeded(outcome, now) if result == "." else breaker.failed(outcome, now, "timeout")


def state_after(results: str) -> str:
    breaker = Breaker()
    after(breaker, 1000.0, results)
    return breaker.state(1000.0)


def test_when_it_opens() -> None:
    """Three in a row, whatever went well before; or half of at least six."""
    assert [state_after(s) for s in ("", ".", "x", "xx", "xxx")] == ["closed", "closed", "degraded", "degraded", "open"]
    assert state_after("." * 50 + "xxx") == "open"
    assert state_after("x.x.") == "degraded"
    assert state_after("x.x.x.") == "degraded"
    assert state_after("x.x..x") == "open"
    assert state_after("." * 9 + "x") == "degraded"
    assert state_after("x" + "." * 9) == "closed"


def test_it_heals_step_by_step_under_constant_traffic() -> None:
    """Open lets nobody through; then one at a time, two, four; the third answer closes it."""
    breaker, now = Breaker(), 0.0
    after(breaker, now, "xxx")
    for _ in range(29):
        now += 1
        assert (breaker.state(now), breaker.admits(now)) == ("open", False)
    now += 1
    for together in (1, 2, 4):
        assert breaker.state(now) == "recovering"
        under_way = []
        while breaker.admits(now):
            under_way.append(breaker.begin(now))
        assert len(under_way) == together
        breaker.succeeded(under_way.pop(), now)
        for outcome in under_way:
            breaker.released(outcome)
    assert (breaker.state(now), breaker.admits(now)) == ("closed", True)


def test_a_failed_probe_doubles_the_wait() -> None:
    """30, 60, 120, 240 seconds, then 300; a quiet window starts over."""
    breaker, now = Breaker(), 0.0
    after(breaker, now, "xxx")
    waits = []
    for _ in range(6):
        assert breaker.until is not None
        waits.append(breaker.until - now)
        now = breaker.until
        after(breaker, now, "x")
    assert waits == [30, 60, 120, 240, 300, 300]
    assert breaker.until is not None
    now = breaker.until
    after(breaker, now, "...")
    now += WINDOW
    after(breaker, now, "xxx")
    assert breaker.until == now + 30


def test_a_stream_that_breaks_off_was_a_failure() -> None:
    """Its beginning counted as a success; three of them open the breaker, and close a recovery again."""
    breaker = Breaker()
    streams = [breaker.begin(0) for _ in range(3)]
    for stream in streams:
        breaker.succeeded(stream, 1)
    assert breaker.state(1) == "closed"
    for stream in streams:
        breaker.failed(stream, 2, "broken")
    assert breaker.state(2) == "open"
    probe = breaker.begin(40)
    breaker.succeeded(probe, 41)
    breaker.failed(probe, 42, "broken")
    assert breaker.state(42) == "open"


def test_what_was_under_way_when_it_opened_changes_nothing() -> None:
    """Neither its failure nor its answer tells of the time after."""
    breaker = Breaker()
    slow, slower = breaker.begin(0), breaker.begin(0)
    after(breaker, 1, "xxx")
    breaker.failed(slow, 35, "timeout")
    assert breaker.state(35) == "recovering"
    for _ in range(STEPS):
        breaker.succeeded(slower, 36)
    assert breaker.state(36) == "recovering"


def test_an_answer_while_open_ends_the_wait() -> None:
    """With nobody else left it was asked all the same."""
    breaker = Breaker()
    after(breaker, 0, "xxx")
    after(breaker, 5, "xx")
    assert breaker.until == OPEN_SECONDS
    after(breaker, 6, ".")
    assert breaker.state(6) == "recovering"
    after(breaker, 7, "..")
    assert breaker.state(7) == "closed"


def test_a_lost_probe_makes_room() -> None:
    """An attempt that never tells how it went does not block the way back."""
    breaker = Breaker()
    after(breaker, 0, "xxx")
    breaker.begin(40)
    assert not breaker.admits(41)
    assert breaker.admits(40 + LEASE)


def test_an_old_success_that_is_forgotten_is_a_change() -> None:
    """Two failures among eleven are few, among ten they are many."""
    breaker = Breaker()
    after(breaker, 0, ".")
    after(breaker, 100, "xx" + "." * 8)
    assert breaker.state(100) == "closed"
    assert breaker.changes_at(100) == WINDOW
    assert breaker.state(WINDOW) == "degraded"


class Against(RuleBasedStateMachine):
    """Random attempts, failures, streams that break off and waits: the breaker and the model always agree.

    The model keeps the whole history and works the state out anew each time, by the rules as they are written down.
    """

    @initialize()
    def begin(self) -> None:
        self.breaker = Breaker()
        self.now = 0.0
        self.under_way: list[Outcome] = []
        self.answered: list[Outcome] = []
        self.history: list[list] = []  # [outcome, ok] in the order in which they ended
        self.open_until: float | None = None
        self.length = OPEN_SECONDS
        self.quiet_since: float | None = None
        self.healed = 0
        self.epoch = 0
        self.epochs: dict[int, int] = {}
        self.probes: list[Outcome] = []

    # ── the model ──

    def recent(self) -> list[bool]:
        kept = [entry for entry in self.history[-REMEMBERED:] if entry[0].began > self.now - WINDOW]
        return [ok for _, ok in kept]

    def expected(self) -> str:
        if self.open_until is not None:
            return "open" if self.now < self.open_until else "recovering"
        recent = self.recent()
        if recent and (not recent[-1] or recent.count(False) >= 0.2 * len(recent)):
            return "degraded"
        return "closed"

    def opens(self) -> None:
        again = self.open_until is not None or (self.quiet_since is not None and self.now - self.quiet_since < WINDOW)
        self.length = min(self.length * 2, LONGEST_OPEN) if again else OPEN_SECONDS
        self.open_until = self.now + self.length
        self.healed = 0
        self.epoch += 1
        self.probes = []

    # ── what happens ──

    @rule(seconds=st.sampled_from([0.5, 5.0, 29.0, 31.0, 61.0, 299.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        outcome = self.breaker.begin(self.now)
        self.epochs[id(outcome)] = self.epoch
        if self.expected() == "recovering":
            self.probes.append(outcome)
        self.under_way.append(outcome)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        outcome = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.breaker.succeeded(outcome, self.now)
        self.probes = [p for p in self.probes if p is not outcome]
        self.history.append([outcome, True])
        self.answered.append(outcome)
        if self.open_until is not None and self.epochs[id(outcome)] == self.epoch:
            self.open_until = min(self.open_until, self.now)
            self.healed += 1
            if self.healed == STEPS:
                self.open_until, self.quiet_since, self.probes = None, self.now, []
                last = self.history[-REMEMBERED:]
                self.history = [e for e in last if e[1] and self.epochs[id(e[0])] == self.epoch]

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        outcome = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        probe = outcome.probe
        self.breaker.failed(outcome, self.now, "timeout")
        self.probes = [p for p in self.probes if p is not outcome]
        self.history.append([outcome, False])
        self.judge(outcome, reopens=probe)

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def break_off(self, data: st.DataObject) -> None:
        outcome = self.answered.pop(data.draw(st.integers(0, len(self.answered) - 1)))
        self.breaker.failed(outcome, self.now, "broken")
        for entry in self.history:
            if entry[0] is outcome:
                entry[1] = False
        self.judge(outcome, reopens=True)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        outcome = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.breaker.released(outcome)
        self.probes = [p for p in self.probes if p is not outcome]

    def judge(self, outcome: Outcome, *, reopens: bool) -> None:
        if self.epochs[id(outcome)] != self.epoch:
            return
        recent = self.recent()
        if self.open_until is not None:
            if reopens:
                self.opens()
        elif recent[-3:] == [False] * 3 or (len(recent) >= 6 and recent.count(False) * 2 >= len(recent)):
            self.opens()

    # ── what always holds ──

    @invariant()
    def they_agree(self) -> None:
        assert self.breaker.state(self.now) == self.expected()
        assert self.breaker.until == self.open_until

    @invariant()
    def few_probes_at_a_time(self) -> None:
        live = [p for p in self.probes if p.began > self.now - LEASE]
        expected = self.expected()
        assert self.breaker.admits(self.now) == (
            expected in ("closed", "degraded") or (expected == "recovering" and len(live) < 2**self.healed)
        )

    @invariant()
    def it_is_never_open_for_good(self) -> None:
        assert self.breaker.until is None or self.breaker.until <= self.now + LONGEST_OPEN

    @invariant()
    def nothing_changes_before_it_says_so(self) -> None:
        due = self.breaker.changes_at(self.now)
        if due < float("inf"):
            before = self.now + (due - self.now) * 0.99
            if before < due:
                assert self.breaker.state(before) == self.breaker.state(self.now)


Against.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestAgainst = Against.TestCase
