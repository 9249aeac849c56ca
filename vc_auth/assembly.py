"""From settings to a guard, a registry and their lifetimes: the one place that names concrete mechanisms."""

import logging
import time
from fractions import Fraction
from functools import cache
from types import TracebackType
from typing import Final, Self

from vc_auth.cache import CacheOptions
from vc_auth.clock import Clock
from vc_auth.errors import BackendError, Fault, LimiterError, StoreError
from vc_auth.guard import Guard
from vc_auth.keys import KeyFormat
from vc_auth.limiters import Limiter, MemoryLimiter, Peeking, open_limiter
from vc_auth.metrics import Metrics
from vc_auth.plans import Plan
from vc_auth.registry import Registry
from vc_auth.settings import Settings
from vc_auth.stores import CachedKeyFinder, CachedKeyStore, HasLifetime, KeyFinder, KeyStore, UsageStore, open_store
from vc_auth.urls import windows_storage
from vc_auth.usage import UsageCounter
from vc_auth.workers import BUCKETS_APART, number_of_workers, share_of_workers

logger: Final = logging.getLogger("vc_auth")


class VCAuth:
    """Everything for one application: ``auth.guard`` for requests, ``auth.registry`` for operators.

    ``auth.plans`` are the plans by name, as the limiter keeps them. ``auth.usage`` counts what the guard decides, and
    writes it behind; None if the store keeps no usage.

    ``settings`` default to the environment's (``VC_AUTH_*``). ``store`` and ``limiter`` are objects of your own in
    place of those that the settings name; ``clock`` is anything with ``monotonic_ns`` and ``time_ns``; ``metrics`` has
    hooks for what operators count. Raises SettingsError with every mistake in the settings at once, and LimiterError
    for windows that `limits` cannot keep.

    The middleware opens and closes it with the application. In scripts and tests: ``async with VCAuth(...) as auth``.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        store: KeyFinder | None = None,
        limiter: Limiter | None = None,
        clock: Clock = time,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = settings = settings if settings is not None else Settings.from_env()
        settings.check()
        self.clock = clock
        self.plans = {plan.name: plan for plan in _plans_of(settings)}
        self._key_format = KeyFormat(settings.key_prefixes)
        self.source = store if store is not None else open_store(settings.store)
        self.store = self._cached(self.source)
        self._usage_store = self.source if isinstance(self.source, UsageStore) else None
        self.usage = self._counter(self._usage_store)
        self.limiter = limiter if limiter is not None else self._open_limiter(metrics)
        self.guard = self._guard(self.store, self.limiter, self.usage)
        self._opened = 0

    @property
    def rehearsal(self) -> Guard:
        """A guard that decides as ``guard`` does, and neither takes a token, nor counts, nor remembers the key."""
        return self._guard(self.source, Peeking(self.limiter) if self.limiter is not None else None, None)

    @property
    def registry(self) -> Registry:
        """Projects and keys. Raises Fault if the store can only find keys."""
        if not isinstance(self.store, CachedKeyStore):
            raise Fault("this store only finds keys; to manage them it needs all of vc_auth.stores.KeyStore")
        return Registry(
            self.store,
            self._usage_store,
            plans=self.plans,
            key_format=self._key_format,
            known_scopes=self.settings.known_scopes,
            default_scopes=self.settings.default_scopes,
            clock=self.clock,
        )

    def _cached(self, store: KeyFinder) -> CachedKeyFinder:
        options = CacheOptions(
            clock=self.clock,
            size=self.settings.cache_size,
            ttl=self.settings.cache_ttl,
            negative_size=self.settings.negative_cache_size,
            negative_ttl=self.settings.negative_ttl,
            timeout=self.settings.store_timeout,
            stale_if_error=self.settings.stale_if_error,
        )
        return CachedKeyStore(store, options) if isinstance(store, KeyStore) else CachedKeyFinder(store, options)

    def _guard(self, store: KeyFinder, limiter: Limiter | None, usage: UsageCounter | None) -> Guard:
        return Guard(
            store,
            limiter,
            plans=self.plans,
            key_format=self._key_format,
            clock=self.clock,
            cost=self.settings.cost,
            limit_by_project=self.settings.limit_by == "project",
            count=usage.count if usage is not None else None,
        )

    def _open_limiter(self, metrics: Metrics | None) -> Limiter | None:
        share = Fraction(self.settings.limiter_share).limit_denominator(1_000_000)
        return open_limiter(self.settings, self.clock, metrics, cache(lambda: share or share_of_workers()))

    def _counter(self, store: UsageStore | None) -> UsageCounter | None:
        if store is None:
            return None
        return UsageCounter(store.add_usage, interval=self.settings.usage_flush_interval, clock=self.clock)

    async def open(self) -> None:
        """Begin to work. Opening is counted: what was opened twice is closed by the second `aclose`.

        Raises StoreError or LimiterError for what somebody has to mend. What is only away does not stop the start.
        """
        for part in self._parts_with_a_lifetime():
            try:
                await part.open()
            except (StoreError, LimiterError):
                if not self._opened:
                    await self._close_parts()
                raise
            except BackendError as error:
                logger.warning("%s; starting all the same, requests are answered 503 until it is back", error)
        self._opened += 1
        apart = isinstance(self.limiter, MemoryLimiter) or windows_storage(self.settings.limiter) == "memory://"
        if self._opened == 1 and apart and (workers := number_of_workers()) > 1:
            logger.warning(BUCKETS_APART, {"workers": workers, "limiter": self.settings.limiter})
        self.store.start()

    async def aclose(self) -> None:
        """End what `open` began, once for each: write usage, cancel look-ups that are under way, close connections."""
        self._opened = max(0, self._opened - 1)
        if self._opened == 0:
            if self.usage is not None:
                await self.usage.aclose()
            await self.store.aclose()
            await self._close_parts()

    async def _close_parts(self) -> None:
        for part in self._parts_with_a_lifetime():
            await part.aclose()

    def _parts_with_a_lifetime(self) -> list[HasLifetime]:
        parts: tuple[object, ...] = (self.source, self.limiter)
        return [part for part in parts if isinstance(part, HasLifetime)]

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _plans_of(settings: Settings) -> tuple[Plan, ...]:
    """The plans as their limiter keeps them."""
    if not windows_storage(settings.limiter):
        return settings.plans
    return tuple(Plan(plan.name, rate=plan.rate.limit, burst=plan.rate.amount) for plan in settings.plans)
