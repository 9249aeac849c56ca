"""A request presents a key; the guard admits or denies it. Read this first."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from vc_auth.clock import Clock, utcnow
from vc_auth.errors import Forbidden, InvalidKey, RateLimited, Unauthorized, Unavailable
from vc_auth.keys import Headers, KeyFormat
from vc_auth.limiters import Limiter, Unreachable
from vc_auth.plans import Plan
from vc_auth.policy import check
from vc_auth.records import Grant, KeyRecord, new_grant
from vc_auth.stores import KeyFinder
from vc_auth.usage import ADMITTED, FORBIDDEN, LIMITED

logger: Final = logging.getLogger("vc_auth")


class Guard:
    """Admits requests. Knows no HTTP beyond the header it reads; of store and limiter it knows their protocols."""

    def __init__(
        self,
        store: KeyFinder,
        limiter: Limiter | None,
        *,
        plans: Mapping[str, Plan],
        key_format: KeyFormat,
        clock: Clock,
        cost: int = 1,
        limit_by_project: bool = False,
        count: Callable[[KeyRecord, int], None] | None = None,
    ) -> None:
        self._glance = key_format.glance
        self._parse = key_format.parse_authorization
        self._peek: Callable[[str], KeyRecord | None] = getattr(store, "peek", _remembers_nothing)
        self._find = store.find
        self._hit = limiter.hit if limiter is not None else None
        self._plans = plans
        self._now = partial(utcnow, clock)
        self._cost = cost
        self._limit_by_project = limit_by_project
        self._count = count if count is not None else _counts_nothing
        self._missing_plans: set[str] = set()

    async def admit(self, headers: Headers, address: str | None = None, project: str | None = None) -> Grant:
        """Admit a request with these headers, from this client address, to this project (id or name; None: nobody's).

        Raises in this order: MissingKey, MalformedHeader, InvalidKey; Unavailable if the store cannot say; InvalidKey
        again, for a key that is unknown or dead; Forbidden; RateLimited. Only the bucket, the last step, takes tokens.
        The last two, and what is admitted, count as usage of the key.
        """
        record = self._peek(self._glance(headers))
        presented = self._parse(headers) if record is None else ""
        del headers  # a traceback keeps this frame, and the key stands in them
        if record is None:
            record = await self._look_up(presented)
        try:
            check(record, self._now, address, project)
        except Forbidden:
            self._count(record, FORBIDDEN)
            raise
        plan = self._plans.get(record.project.plan)
        if plan is None:
            raise self._unavailable_for_want_of_a_plan(record.project.plan)
        if self._hit is None:
            self._count(record, ADMITTED)
            return new_grant((record, plan, None))
        bucket = record.project.id if self._limit_by_project else record.family
        try:
            decision = await self._hit(bucket, plan.rate, self._cost)
        except Unreachable as error:  # it said so in the log, once
            raise Unavailable from error
        except Exception as error:  # a limiter of somebody's own; whatever it is, the request is not to blame
            logger.error("limiter failed: %r", error)  # noqa: TRY400  # one line a request is enough
            raise Unavailable from error
        if not decision.allowed:
            self._count(record, LIMITED)
            raise RateLimited(decision, plan.name)
        self._count(record, ADMITTED)
        return new_grant((record, plan, decision))

    async def _look_up(self, presented: str | Unauthorized) -> KeyRecord:
        if isinstance(presented, Unauthorized):
            raise presented
        try:
            record = await self._find(presented)
        except Exception as error:  # whatever a store raises, it could not say
            raise Unavailable from error
        if record is None:
            raise InvalidKey
        return record

    def _unavailable_for_want_of_a_plan(self, name: str) -> Unavailable:
        if name not in self._missing_plans:  # one line, however many requests
            self._missing_plans.add(name)
            logger.error("plan %r is not in the settings; its projects' requests are answered 503", name)
        return Unavailable()


def _counts_nothing(_record: KeyRecord, _outcome: int) -> None:
    """The count of a guard that keeps no usage."""


def _remembers_nothing(_digest: str) -> None:
    """The peek of a store that is no cache."""
