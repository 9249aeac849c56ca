"""A key's whole life against a dictionary, with slow, failing and cancelled look-ups in between.

No accept after a revocation, no resurrection, no loss: whatever a request finds out must be true when it is admitted,
and a key that was alive all along must be let in.
"""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support import SCALE, bearer

from vc_auth import NewKey, Project, Settings, VCAuth
from vc_auth.errors import Conflict, InvalidKey, Unavailable
from vc_auth.records import Grant, KeyRecord
from vc_auth.stores import MemoryKeyStore
from vc_auth.testing import TurnableClock


class SlowStore(MemoryKeyStore):
    """Reads at once, and brings what it read when the test says so; or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[asyncio.Future[bool]] = []

    async def find(self, digest: str) -> KeyRecord | None:
        record = await super().find(digest)
        delivery = asyncio.get_running_loop().create_future()
        self.under_way.append(delivery)
        if not await delivery:
            raise OSError("lost on the way")
        return record


@dataclass
class Known:
    """What the dictionary says of one key."""

    new: NewKey
    project: str
    expires_at: int | None
    gone: bool = False
    dead_since_step: list[int] = field(default_factory=list)


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = TurnableClock()
        self.store = SlowStore()
        self.auth = VCAuth(
            Settings(limiter="none", store_timeout=10_000.0, cache_size=3, negative_cache_size=3),
            store=self.store,
            clock=self.clock,
        )
        self.registry = self.auth.registry
        self.projects: dict[str, Project] = {}
        self.plans: dict[str, str] = {}
        self.suspended: set[str] = set()
        self.keys: list[Known] = []
        self.requests: list[tuple[asyncio.Task[Grant], Known, int]] = []
        self.step = 0
        self.failed = False
        for name in ("acme", "other"):
            self.projects[name] = self.run(self.registry.create_project(name))
            self.plans[name] = "free"

    def teardown(self) -> None:
        self.runner.run(self._end())
        self.runner.close()

    async def _end(self) -> None:
        for task, _, _ in self.requests:
            task.cancel()
        await self.auth.aclose()
        await asyncio.sleep(0)

    def run(self, coroutine: Any) -> Any:
        async def settled() -> Any:
            result = await coroutine
            for _ in range(8):
                await asyncio.sleep(0)
            return result

        return self.runner.run(settled())

    def alive(self, known: Known) -> bool:
        now = self.clock.time_ns()
        return not (
            known.gone or known.project in self.suspended or (known.expires_at is not None and known.expires_at <= now)
        )

    def note(self) -> None:
        """Note which keys are dead after this step."""
        self.step += 1
        for known in self.keys:
            if not self.alive(known):
                known.dead_since_step.append(self.step)

    def pick(self, seed: int) -> Known | None:
        return self.keys[seed % len(self.keys)] if self.keys else None

    # -- what operators do ---------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(["acme", "other"]), lifetime=st.sampled_from([None, 10, 100]))
    def create(self, name: str, lifetime: int | None) -> None:
        expires_in = timedelta(seconds=lifetime) if lifetime else None
        new = self.run(self.registry.create_key(name, "ci", expires_in=expires_in))
        at = self.clock.time_ns() + lifetime * 10**9 if lifetime else None
        self.keys.append(Known(new, name, at))
        self.note()

    @rule(seed=st.integers(0, 100))
    def revoke(self, seed: int) -> None:
        if (known := self.pick(seed)) and known.new.record.id in self._ids():
            self.run(self.registry.revoke_key(known.new.record.id))
            known.gone = True
            self.note()

    @rule(seed=st.integers(0, 100), grace=st.sampled_from([0, 5, 1_000]))
    def rotate(self, seed: int, grace: int) -> None:
        known = self.pick(seed)
        if known is None or known.new.record.id not in self._ids():
            return
        try:
            new = self.run(self.registry.rotate_key(known.new.record.id, grace=timedelta(seconds=grace)))
        except Conflict:
            return
        record, end = new.record, self.clock.time_ns() + grace * 10**9
        known.expires_at = end if known.expires_at is None else min(end, known.expires_at)
        lifetime = record.expires_at - record.created_at if record.expires_at else None
        at = None if lifetime is None else self.clock.time_ns() + int(lifetime.total_seconds()) * 10**9
        self.keys.append(Known(new, known.project, at))
        self.note()

    @rule(seed=st.integers(0, 100))
    def delete(self, seed: int) -> None:
        known = self.pick(seed)
        if known is None or known.new.record.id not in self._ids():
            return
        try:
            self.run(self.registry.delete_key(known.new.record.id))
        except Conflict:
            assert not known.gone
        else:
            assert known.gone or (known.expires_at or 0) <= self.clock.time_ns(), "a living key was deleted"
            known.gone = True
            self.note()

    @rule(name=st.sampled_from(["acme", "other"]), suspend=st.booleans())
    def suspend_or_resume(self, name: str, suspend: bool) -> None:
        if suspend:
            self.run(self.registry.suspend_project(name))
            self.suspended.add(name)
        else:
            self.run(self.registry.resume_project(name))
            self.suspended.discard(name)
        self.note()

    @rule(name=st.sampled_from(["acme", "other"]), plan=st.sampled_from(["free", "pro", "enterprise"]))
    def change_plan(self, name: str, plan: str) -> None:
        self.run(self.registry.change_plan(name, plan))
        self.plans[name] = plan

    # -- what clients and the world do ---------------------------------------------------------------------------------

    @rule(seed=st.integers(0, 100))
    def request(self, seed: int) -> None:
        if known := self.pick(seed):

            async def start(known: Known = known) -> None:
                task = asyncio.create_task(self.auth.guard.admit(bearer(known.new.secret.reveal())))
                self.requests.append((task, known, self.step))

            self.run(start())

    @rule(number=st.integers(0, 10_000))
    def guess(self, number: int) -> None:
        async def start() -> None:
            key = f"vc_{random.Random(number).getrandbits(128):032x}"
            task = asyncio.create_task(self.auth.guard.admit(bearer(key)))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())

        self.run(start())

    @rule(seed=st.integers(0, 100), arrives=st.sampled_from([True, True, True, False]))
    def deliver(self, seed: int, arrives: bool) -> None:
        if self.store.under_way:

            async def deliver() -> None:
                delivery = self.store.under_way.pop(seed % len(self.store.under_way))
                if not delivery.done():
                    delivery.set_result(arrives)

            self.failed = self.failed or not arrives
            self.run(deliver())

    @rule(seed=st.integers(0, 100))
    def cancel(self, seed: int) -> None:
        if self.requests:

            async def cancel() -> None:
                self.requests.pop(seed % len(self.requests))[0].cancel()

            self.run(cancel())

    @rule(seconds=st.sampled_from([0.1, 1, 5, 10, 61, 100]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)
        self.note()

    # -- what must be true ---------------------------------------------------------------------------------------------

    @invariant()
    def what_requests_found_out_is_true(self) -> None:
        done = [request for request in self.requests if request[0].done()]
        self.requests = [request for request in self.requests if not request[0].done()]
        for task, known, began in done:
            error = task.exception()
            if error is None:
                assert self.alive(known), "a dead key was let in"
                assert task.result().plan.name == self.plans[known.project]
                assert task.result().record.id == known.new.record.id
            elif isinstance(error, InvalidKey):
                died = [step for step in known.dead_since_step if step >= began]
                assert died or not self.alive(known), "a living key was turned away"
            else:
                assert isinstance(error, Unavailable)
                assert self.failed, "it was called unavailable, and nothing had failed"

    @invariant()
    def nothing_is_lost(self) -> None:
        listed = self._ids()
        for known in self.keys:
            assert known.gone or known.new.record.id in listed

    def _ids(self) -> set[str]:
        async def ids() -> set[str]:
            return {key.id for name in self.projects for key in await self.registry.list_keys(name)}

        found = self.runner.run(ids())
        assert isinstance(found, set)
        return found


Life.TestCase.settings = settings(max_examples=max(10, round(150 * SCALE)), stateful_step_count=50, deadline=None)
TestLife = Life.TestCase
