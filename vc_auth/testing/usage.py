"""The contract of stores that keep usage."""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from vc_auth.records import KeyTotals, Usage, UsageBatch, UsageCount
from vc_auth.stores import KeyStore, UsageStore
from vc_auth.testing.clock import TurnableClock
from vc_auth.testing.stores import some_key, some_project

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class KeyAndUsageStore(KeyStore, UsageStore, Protocol):
    """What the contract is about."""


def some_count(key_id: str = "key_1", project_id: str = "prj_1", **fields: object) -> UsageCount:
    """A count that is like any other but for what is given."""
    count = {"hour": NOON, "admitted": 1, "limited": 0, "forbidden": 0, "last_used_at": NOON, **fields}
    return UsageCount(key_id, project_id, **count)  # type: ignore[arg-type]  # whatever the test gives


@pytest.mark.asyncio
class UsageStoreContract:
    """What every `vc_auth.stores.UsageStore` does."""

    def open_store(self, clock: TurnableClock) -> AbstractAsyncContextManager[KeyAndUsageStore]:
        """Open an empty store."""
        raise NotImplementedError

    async def test_counts_are_added_up_for_each_key_and_hour_and_for_the_project(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            one = some_count("key_1", admitted=3, limited=2, forbidden=1)
            other = some_count("key_2", admitted=10)
            later = some_count("key_1", hour=NOON + HOUR, admitted=5)
            await store.add_usage(UsageBatch("worker", 1, (one, other, later)))
            await store.add_usage(UsageBatch("worker", 2, (one,)))
            first, second = Usage(NOON, 6, 4, 2), Usage(NOON + HOUR, 5)
            assert await store.usage_by_hour("prj_1", "key_1", NOON, NOON + DAY) == [first, second]
            assert await store.usage_by_hour("prj_1", "key_2", NOON, NOON + DAY) == [Usage(NOON, 10)]
            assert await store.usage_by_hour("prj_1", None, NOON, NOON + DAY) == [Usage(NOON, 16, 4, 2), second]

    async def test_a_batch_that_is_sent_again_changes_nothing(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            batches = [UsageBatch("worker", seq, (some_count(admitted=seq),)) for seq in (1, 2, 3)]
            for batch in [*batches, *batches, batches[2]]:
                await store.add_usage(batch)
            assert await store.usage_by_hour("prj_1", None, NOON, NOON + DAY) == [Usage(NOON, 1 + 2 + 3)]
            assert (await store.key_totals("prj_1"))["key_1"].requests == 6

    async def test_workers_number_their_batches_by_themselves(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            for worker in ("one", "other"):
                await store.add_usage(UsageBatch(worker, 7, (some_count(),)))
                await store.add_usage(UsageBatch(worker, 8, (some_count(),)))
            assert await store.usage_by_hour("prj_1", None, NOON, NOON + DAY) == [Usage(NOON, 4)]

    async def test_a_batch_without_counts_changes_nothing(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_usage(UsageBatch("worker", 1, ()))
            assert await store.usage_by_hour("prj_1", None, NOON, NOON + DAY) == []

    async def test_only_the_hours_that_begin_within_the_span_are_told_and_in_their_order(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            hours = [NOON + number * HOUR for number in (3, 0, 2, 1)]
            counts = tuple(some_count(hour=hour) for hour in hours)
            await store.add_usage(UsageBatch("worker", 1, counts))
            for key_id in ("key_1", None):
                found = await store.usage_by_hour("prj_1", key_id, NOON + HOUR, NOON + 3 * HOUR)
                assert [usage.start for usage in found] == [NOON + HOUR, NOON + 2 * HOUR]

    async def test_what_was_never_used_has_no_usage(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            await store.add_key(key := some_key(project))
            assert await store.usage_by_hour(project.id, key.id, NOON - DAY, NOON + DAY) == []
            assert await store.usage_by_hour("nobody", None, NOON - DAY, NOON + DAY) == []
            assert await store.key_totals(project.id) == {} == await store.key_totals("nobody")

    async def test_totals_count_every_request_and_the_last_use_never_moves_back(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            late, early = NOON + 5 * HOUR, NOON - 5 * HOUR
            await store.add_usage(UsageBatch("one", 1, (some_count(admitted=1, limited=2, last_used_at=late),)))
            await store.add_usage(UsageBatch("other", 1, (some_count(forbidden=4, last_used_at=early),)))
            assert await store.key_totals("prj_1") == {"key_1": KeyTotals(1 + 2 + 5, late)}

    async def test_totals_are_told_of_one_key_or_of_all_of_a_project(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            counts = some_count("key_1"), some_count("key_2", admitted=2), some_count("key_3", "prj_2")
            await store.add_usage(UsageBatch("worker", 1, counts))
            one, two = KeyTotals(1, NOON), KeyTotals(2, NOON)
            assert await store.key_totals("prj_1") == {"key_1": one, "key_2": two}
            assert await store.key_totals("prj_1", "key_2") == {"key_2": two}
            assert await store.key_totals("prj_1", "key_3") == {}, "it is another project's"
            assert await store.usage_by_hour("prj_1", "key_3", NOON, NOON + DAY) == []

    async def test_usage_stays_with_the_project_when_its_key_is_deleted_and_may_come_afterwards(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            await store.add_key(key := some_key(project, revoked_at=NOON))
            count = some_count(key.id, project.id)
            await store.add_usage(UsageBatch("worker", 1, (count,)))
            await store.delete_key(key.id, NOON)
            await store.add_usage(UsageBatch("worker", 2, (count,)))
            assert await store.usage_by_hour(project.id, None, NOON, NOON + DAY) == [Usage(NOON, 2)]
            assert await store.usage_by_hour(project.id, key.id, NOON, NOON + DAY) == [Usage(NOON, 2)]

    async def test_adding_usage_changes_no_record(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            await store.add_key(key := some_key(project))
            revoked = await store.revoke_key(key.id, NOON)
            await store.add_usage(UsageBatch("worker", 1, (some_count(key.id, project.id, last_used_at=NOON + DAY),)))
            assert await store.find(key.digest) == revoked
            assert await store.list_keys(project.id) == [revoked]

    async def test_a_large_batch_is_added_wholly(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            counts = tuple(some_count(f"key_{number}", admitted=number) for number in range(2_000))
            await store.add_usage(UsageBatch("worker", 1, counts))
            assert (await store.usage_by_hour("prj_1", None, NOON, NOON + DAY))[0].admitted == sum(range(2_000))
            assert len(await store.key_totals("prj_1")) == 2_000
