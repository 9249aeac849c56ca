"""A key's life as a list of what was true of it, and what of that each worker has to know."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vc_auth.records import Grant


@dataclass(frozen=True, slots=True)
class Facts:
    """A key as it is from some step on. An empty id: it is in no store. Times are nanoseconds since 1970."""

    id: str = ""
    plan: str = "free"
    suspended: bool = False
    revoked: bool = False
    expires_at: int | None = None

    def is_active(self, now: int) -> bool:
        return bool(self.id) and not self.revoked and (self.expires_at is None or now < self.expires_at)

    def answer(self, now: int) -> tuple[str, str] | None:
        """Under which id and plan the key is let in; None if it is not."""
        return (self.id, self.plan) if self.is_active(now) and not self.suspended else None


class Life:
    """One key. Every worker may be behind the present, but never goes back: to none of them does a step come undone."""

    def __init__(self, plain: str, project: str, step: int, facts: Facts, *, workers: int = 2) -> None:
        self.plain = plain
        self.project = project
        self._facts = {step: facts}
        self._known = [step] * workers

    @property
    def present(self) -> Facts:
        return self._facts[max(self._facts)]

    def change(self, step: int, **facts: str | bool | int | None) -> None:
        self._facts[step] = replace(self.present, **facts)  # type: ignore[arg-type]  # typeshed's replace() takes no union of field types

    def must_be_known(self, worker: int, step: int) -> None:
        """From now on this worker has to know what was true at this step."""
        self._known[worker] = max(self._known[worker], step)

    def must_be_known_of_a_record(self, worker: int, step: int) -> None:
        """The same, unless this worker may still take the key for unknown, so that it has no record of it."""
        if all(facts.id for _, facts in self._possible(worker)):
            self.must_be_known(worker, step)

    def judge(self, worker: int, grant: Grant | None, now: int) -> None:
        """What this worker just answered must be true of the present, or of a past that it may still be in."""
        answer = grant and (grant.record.id, grant.plan.name)
        possible = list(self._possible(worker))
        steps = [step for step, facts in possible if facts.answer(now) == answer]
        assert steps, f"worker {worker} answered {answer}, which was never true of {possible} at {now}"
        self.must_be_known(worker, steps[0])

    def _possible(self, worker: int) -> Iterator[tuple[int, Facts]]:
        known = self._known[worker]
        yield known, self._facts[max(step for step in self._facts if step <= known)]
        yield from ((step, facts) for step, facts in self._facts.items() if step > known)
