"""The life of keys in one SQLite file that two workers and a hand in the shell change in turns.

The very next request to the worker that made a change knows of it; of the other, all after its feed was heard.
Nobody goes back: a key that was refused for good is never let in again, whatever a worker has forgotten, whether it was
restarted, and whether its feed was cut meanwhile. A key that lives is let in by both.
"""

import asyncio
import secrets
import sqlite3
from bisect import bisect_right
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from life import Facts, Life
from slow_worker import Worker
from support import SCALE

from vc_auth import NewKey
from vc_auth.clock import to_us
from vc_auth.errors import Conflict, Unavailable
from vc_auth.keys import digest
from vc_auth.records import Grant
from vc_auth.testing import TurnableClock

T = TypeVar("T")

PROJECTS: Final = ("acme", "other")
ENOUGH: Final = 6  # keys: with more, less happens to each
DEAD_AFTER: Final = 500_000_000  # nanoseconds of silence; the contract's, for a feed that is cut
READ_AGAIN_AFTER: Final = 1_000_000_000
UNKNOWN_FOR: Final = 5_000_000_000
PUT_IN: Final = (
    "INSERT INTO keys (id, digest, project_id, name, display, scopes, family) VALUES (?, ?, ?, 'ci', '', '[]', ?)"
)

either = st.sampled_from([0, 1])
some = st.sampled_from([(0,), (1,), (0, 1)])
anybody = st.sampled_from([0, 1, None])  # None: a hand in the shell
a_key = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5])  # 0: the newest, so that one key has several things happen to it
a_project = st.sampled_from(PROJECTS)
changes_of_keys = st.sampled_from(
    ["revoke", "revoke", "delete", "delete", "revoke_and_be_cancelled", "rotate", "rotate_at_once", "expire", "prolong"]
)
changes_of_projects = st.sampled_from([{"suspended": True}, {"suspended": False}, {"plan": "free"}, {"plan": "pro"}])
ends_of_requests = st.sampled_from(["arrives", "arrives", "is lost", "is cancelled"])
disturbances = st.sampled_from(["cut", "end", "take_up_again", "reopen", "restart", "prune", "prune"])
acts = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.5, 1, 5, 10, 61, 100])),
    *[st.tuples(st.just("change_a_key"), anybody, a_key, changes_of_keys)] * 6,
    *[st.tuples(st.just("change_a_project"), anybody, a_project, changes_of_projects)] * 2,
    *[st.tuples(st.just("request"), either, a_key, st.booleans())] * 3,
    *[st.tuples(st.just("end_a_request"), either, a_key, ends_of_requests)] * 3,
    *[st.tuples(st.just("hear"), some)] * 3,
    st.tuples(st.just("disturb"), either, disturbances),
    st.tuples(st.just("ask_for_every_key_everywhere")),
    st.tuples(st.just("create"), anybody, a_project, st.sampled_from([None, 10, 100])),
)


@dataclass
class ProjectFacts:
    id: str
    plan: str = "free"
    suspended: bool = False


@dataclass
class Request:
    task: asyncio.Task[Grant | None]
    worker: int
    life: Life
    began: int


def nanoseconds(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment) * 1_000


class TwoWorkers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("vc_auth.stores.following.RETRY_AFTER", 0.001)
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "keys.db"
        self.runner = asyncio.Runner()
        self.clock = TurnableClock()
        self.workers = [Worker(self.path, self.clock, cache_size) for cache_size in (3, 100)]
        self.step = 0
        self.times = [self.now]  # of the steps
        self.lives: list[Life] = []
        self.requests: list[Request] = []
        self.busy: tuple[int, ...] = ()
        self.projects = self.run(self._begin())
        self.shell = sqlite3.connect(self.path, isolation_level=None)
        self.hear((0, 1))
        for worker, name in enumerate(PROJECTS):
            self.create(worker, name, None)
            self.create(None, name, None)

    async def _begin(self) -> dict[str, ProjectFacts]:
        for worker in self.workers:
            await worker.auth.open()
        registry = self.workers[0].registry
        return {name: ProjectFacts((await registry.create_project(name)).id) for name in PROJECTS}

    def teardown(self) -> None:
        try:
            for worker in self.workers:
                worker.store.take_up_again()
            self.ask_for_every_key_everywhere()
        finally:
            self.shell.close()
            self.runner.run(self._end())
            self.runner.close()
            self.folder.cleanup()
            self.patch.undo()

    async def _end(self) -> None:
        await self._close(0)
        await self._close(1)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        async def settled() -> T:
            result = await coroutine
            for worker in self.workers:
                await worker.store.settle()
            return result

        return self.runner.run(settled())

    @property
    def now(self) -> int:
        return self.clock.time_ns()

    def note(self, by: int | None, life: Life, **facts: str | bool | int | None) -> None:
        """Note what is true of a key from this step on; the worker that made it so knows at once."""
        life.change(self.step, **facts)
        if by is not None:
            life.must_be_known(by, self.step)

    def note_new(self, new: NewKey, project: str, expires_at: int | None) -> None:
        of_project = self.projects[project]
        facts = Facts(new.record.id, of_project.plan, of_project.suspended, expires_at=expires_at)
        self.lives.append(Life(new.secret.reveal(), project, self.step, facts))

    @rule(act=acts)
    def act(self, act: tuple[Any, ...]) -> None:
        """One rule for all: Hypothesis leaves most rules out of most runs, and what takes four would hardly happen."""
        what, *arguments = act
        getattr(self, what)(*arguments)

    # -- what operators do, through either worker or by hand -----------------------------------------------------------

    def create(self, by: int | None, name: str, lifetime: int | None) -> None:
        """Or only think of a key: requests come with it before somebody takes it over."""
        if len(self.lives) >= ENOUGH:
            return
        if by is None:
            self.lives.append(Life(f"vc_{secrets.token_hex(16)}", name, self.step, Facts()))
        else:
            expires_in = timedelta(seconds=lifetime) if lifetime else None
            new = self.run(self.workers[by].registry.create_key(name, "ci", expires_in=expires_in))
            self.note_new(new, name, self.now + lifetime * 10**9 if lifetime else None)

    def pick(self, number: int) -> Life:
        return self.lives[-1 - number % len(self.lives)]

    def change_a_key(self, by: int | None, number: int, change: str) -> None:
        life = self.pick(number)
        getattr(self, change if life.present.id else "take_over")(by, life)

    def change_a_project(self, by: int | None, name: str, facts: dict[str, str | bool]) -> None:
        vars(self.projects[name]).update(facts)
        project = self.projects[name]
        if by is None:
            at = 1 if project.suspended else None
            self.by_hand("UPDATE projects SET suspended_at = ?, plan = ? WHERE name = ?", at, project.plan, name)
        elif "plan" in facts:
            self.run(self.workers[by].registry.change_plan(name, project.plan))
        else:
            registry = self.workers[by].registry
            self.run(registry.suspend_project(name) if project.suspended else registry.resume_project(name))
        for life in self.lives:
            if life.project == name:
                life.change(self.step, **facts)
                if by is not None:
                    life.must_be_known_of_a_record(by, self.step)

    def by_hand(self, statement: str, *parameters: Any) -> list[Any]:
        return self.shell.execute(statement, parameters).fetchall()

    def revoke(self, by: int | None, life: Life) -> None:
        if by is None:
            self.by_hand("UPDATE keys SET revoked_at = 1 WHERE id = ?", life.present.id)
        else:
            self.run(self._while_asked(by, life, self.workers[by].registry.revoke_key(life.present.id)))
        self.note(by, life, revoked=True)

    async def _while_asked(self, worker: int, life: Life, change: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(change)
        if worker in self.busy:
            await self.workers[worker].ask_until(task, life.plain)
        return await task

    def revoke_and_be_cancelled(self, by: int | None, life: Life) -> None:
        """Who is cancelled has promised nothing."""
        self.run(self._revoke_and_be_cancelled(self.workers[by or 0], life.present.id))
        ((revoked,),) = self.by_hand("SELECT revoked_at IS NOT NULL FROM keys WHERE id = ?", life.present.id)
        self.note(None, life, revoked=bool(revoked))

    async def _revoke_and_be_cancelled(self, worker: Worker, key_id: str) -> None:
        task = asyncio.create_task(worker.registry.revoke_key(key_id))
        await asyncio.sleep(self.step % 5 * 0.0005)  # anywhere from its first step to its end
        task.cancel()
        await asyncio.wait((task,))
        await worker.store.end_writing()

    def rotate(self, by: int | None, life: Life, grace: int = 5) -> None:
        """In one worker, or in both at the same time."""
        workers = (0, 1) if by is None else (by,)
        outcomes = self.run(self._rotate(workers, life.present.id, timedelta(seconds=grace)))
        for worker, new in zip(workers, outcomes, strict=True):
            if isinstance(new, NewKey):
                assert life.present.is_active(self.now), "a dead key was rotated, or a key was rotated twice"
                end, before = self.now + grace * 10**9, life.present.expires_at
                self.note(worker, life, expires_at=end if before is None else min(end, before))
                self.note_new(new, life.project, nanoseconds(new.record.expires_at))

    async def _rotate(self, by: tuple[int, ...], key_id: str, grace: timedelta) -> list[NewKey | BaseException]:
        rotations = (self.workers[worker].registry.rotate_key(key_id, grace=grace) for worker in by)
        outcomes = await asyncio.gather(*rotations, return_exceptions=True)
        assert [outcome for outcome in outcomes if not isinstance(outcome, NewKey | Conflict)] == []
        assert len([outcome for outcome in outcomes if isinstance(outcome, NewKey)]) <= 1, "it has two successors"
        return outcomes

    def rotate_at_once(self, by: int | None, life: Life) -> None:
        self.rotate(by, life, grace=0)

    def expire(self, by: int | None, life: Life) -> None:
        self.by_hand("UPDATE keys SET expires_at = ? WHERE id = ?", self.now // 1_000, life.present.id)
        self.note(None, life, expires_at=self.now)

    def prolong(self, by: int | None, life: Life) -> None:
        self.by_hand("UPDATE keys SET expires_at = NULL WHERE id = ?", life.present.id)
        self.note(None, life, expires_at=None)

    def delete(self, by: int | None, life: Life) -> None:
        if by is None:
            self.by_hand("DELETE FROM keys WHERE id = ?", life.present.id)
        else:
            try:
                self.run(self.workers[by].registry.delete_key(life.present.id))
            except Conflict:
                assert life.present.is_active(self.now), "a dead key cannot be deleted"
                return
            assert not life.present.is_active(self.now), "a living key was deleted"
        self.note(by, life, id="")

    def take_over(self, by: int | None, life: Life) -> None:
        """A key that exists elsewhere, or that was deleted here."""
        project, key_id = self.projects[life.project], f"key_{self.step}"
        if by is None:
            self.by_hand(PUT_IN, key_id, digest(life.plain), project.id, key_id)
        else:
            taking_over = self.workers[by].registry.import_key(life.project, "ci", digest=digest(life.plain))
            key_id = self.run(self._while_asked(by, life, taking_over)).id
        self.note(by, life, **asdict(Facts(key_id, project.plan, project.suspended)))

    # -- what clients and the world do ---------------------------------------------------------------------------------

    @initialize(busy=st.sampled_from([(0, 1), (0,), (1,), ()]))
    def be_busy(self, busy: tuple[int, ...]) -> None:
        """A busy worker is asked all the time, so it remembers; another has to read."""
        self.busy = busy

    def request(self, worker: int, number: int, pushed_out: bool) -> None:
        life = self.pick(number)
        if pushed_out:
            self.workers[worker].push_out(life.plain)
        self.run(self._request(worker, life))

    async def _request(self, worker: int, life: Life) -> None:
        self.workers[worker].was_failing = self.workers[worker].store.failing
        task = asyncio.create_task(self.workers[worker].ask(life.plain))
        self.requests.append(Request(task, worker, life, self.step))

    def end_a_request(self, worker: int, number: int, how: str) -> None:
        if how != "is cancelled":
            self.run(self.workers[worker].store.deliver(number, arrives=how == "arrives"))
        elif requests := [request for request in self.requests if request.worker == worker]:
            request = requests[number % len(requests)]
            self.requests.remove(request)
            self.run(self._cancel(request))

    async def _cancel(self, *requests: Request) -> None:
        for request in requests:
            request.task.cancel()

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)

    def hear(self, workers: tuple[int, ...]) -> None:
        for worker in workers:
            if self.workers[worker].store.cut_by is None:
                self.run(self.workers[worker].hear())
                self._must_know_all(worker)

    def disturb(self, worker: int, how: str) -> None:
        store = self.workers[worker].store
        if how == "take_up_again":
            store.take_up_again()
        elif how in ("cut", "end"):
            self.run(store.cut("an error" if how == "cut" else "its end"))
        elif how == "prune":  # perhaps what was not told yet
            self.by_hand("DELETE FROM changes WHERE seq < (SELECT max(seq) FROM changes)")
        else:
            self.run(self._restart(worker, anew=how == "restart"))
            self._must_know_all(worker)

    async def _restart(self, worker: int, *, anew: bool) -> None:
        await self._close(worker)
        if anew:
            self.workers[worker] = self.workers[worker].successor()
        await self.workers[worker].auth.open()

    async def _close(self, worker: int) -> None:
        """As servers do, which end their requests first."""
        await self._cancel(*(request for request in self.requests if request.worker == worker))
        self.requests = [request for request in self.requests if request.worker != worker]
        await self.workers[worker].auth.aclose()

    def _must_know_all(self, worker: int) -> None:
        for life in self.lives:
            life.must_be_known(worker, self.step)

    # -- what must be true ---------------------------------------------------------------------------------------------

    def ask_for_every_key_everywhere(self) -> None:
        for worker in (0, 1):
            self.hear((worker,))
            while self.workers[worker].store.under_way:
                self.end_a_request(worker, 0, "arrives")
            self._judge_requests()
            self._ask(worker, self.lives)

    @invariant()
    def what_requests_find_out_is_true(self) -> None:
        self._judge_requests()
        for worker in self.busy:
            self._ask(worker, self.lives[-self.workers[worker].cache_size :])
        self.step += 1
        self.times.append(self.now)

    def _ask(self, worker: int, lives: list[Life]) -> None:
        answers = self.run(self.workers[worker].ask_at_once(*(life.plain for life in lives)))
        for life in lives:
            if life.plain in answers:
                self._judge_at_once(worker, life, answers[life.plain])

    def _judge_requests(self) -> None:
        done = [request for request in self.requests if request.task.done()]
        self.requests = [request for request in self.requests if not request.task.done()]
        for request in done:
            worker, life, error = request.worker, request.life, request.task.exception()
            if error is not None:
                assert isinstance(error, Unavailable)
                assert self.workers[worker].store.has_failed, "it was called unavailable, and nothing had failed"
            elif request.began == self.step:
                self._judge_at_once(worker, life, request.task.result())
            else:
                life.judge(worker, request.task.result(), self.now)

    def _judge_at_once(self, number: int, life: Life, grant: Grant | None) -> None:
        """What was remembered or read in this very step. Where the feed is silent, what is older is read again."""
        worker = self.workers[number]
        if self.now >= worker.heard_at + DEAD_AFTER and not worker.was_failing and not worker.store.failing:
            life.must_be_known(number, self._last_step_before(UNKNOWN_FOR))
            life.must_be_known_of_a_record(number, self._last_step_before(READ_AGAIN_AFTER))
        life.judge(number, grant, self.now)

    def _last_step_before(self, age: int) -> int:
        return bisect_right(self.times, self.now - age) - 1

    @invariant()
    def nothing_is_lost(self) -> None:
        there = {key_id for (key_id,) in self.by_hand("SELECT id FROM keys")}
        assert there == {life.present.id for life in self.lives if life.present.id}


@pytest.mark.timeout(600)  # a failure is made smaller for up to five minutes
@pytest.mark.parametrize("run", range(max(1, round(6 * SCALE))))
def test_two_workers_and_a_hand_in_the_shell(run: int) -> None:
    # Of more than ten lives, Hypothesis would make most by copying parts of others; so it begins anew.
    ten_lives = settings(max_examples=10, stateful_step_count=80, deadline=None)
    run_state_machine_as_test(TwoWorkers, settings=ten_lives)
