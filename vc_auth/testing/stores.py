"""The contract of stores."""

import secrets
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from vc_auth.clock import utcnow
from vc_auth.errors import Conflict, NotFound
from vc_auth.keys import digest
from vc_auth.records import KeyRecord, Project, Scopes
from vc_auth.stores import KeyStore
from vc_auth.testing.clock import TurnableClock

DAY = timedelta(days=1)


def some_project(name: str = "acme", **fields: object) -> Project:
    """A project that is like any other but for its id and what is given."""
    made = Project(f"prj_{secrets.token_hex(8)}", name, "free", created_at=datetime(2026, 1, 1, tzinfo=UTC))
    return replace(made, **fields)  # type: ignore[arg-type]  # whatever the test gives


def some_key(project: Project, **fields: object) -> KeyRecord:
    """A key that is like any other but for its id, its digest and what is given."""
    made = KeyRecord(
        id=f"key_{secrets.token_hex(8)}",
        digest=digest(secrets.token_hex()),
        project=project,
        name="ci",
        display="vc_1234...",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return replace(made, **fields)  # type: ignore[arg-type]  # whatever the test gives


@pytest.mark.asyncio
class KeyStoreContract:
    """What every `vc_auth.stores.KeyStore` does."""

    def open_store(self, clock: TurnableClock) -> AbstractAsyncContextManager[KeyStore]:
        """Open an empty store."""
        raise NotImplementedError

    async def test_a_key_is_found_by_its_digest_with_all_that_was_stored(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            key = some_key(
                project,
                name="naïve 鍵",
                scopes=Scopes({"cache:read", "keys:manage"}),
                allowed_networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")),
                expires_at=datetime(2027, 1, 1, 12, 30, 0, 123456, tzinfo=UTC),
                family="key_of_old",
            )
            await store.add_key(key)
            assert await store.find(key.digest) == key
            assert await store.get_key(key.id) == key
            assert await store.find(digest("another")) is None

    async def test_an_empty_set_of_scopes_stays_empty(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            await store.add_key(key := some_key(project, scopes=Scopes()))
            found = await store.find(key.digest)
            assert found is not None
            assert found.scopes == frozenset()

    async def test_a_key_that_was_unknown_is_found_once_it_is_added(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            key = some_key(project)
            assert await store.find(key.digest) is None
            await store.add_key(key)
            assert await store.find(key.digest) == key

    async def test_ids_names_and_digests_are_taken_once(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            await store.add_key(key := some_key(project))
            for twin in (some_project(), some_project("other", id=project.id)):
                with pytest.raises(Conflict):
                    await store.add_project(twin)
            for double in (some_key(project, id=key.id), some_key(project, digest=key.digest)):
                with pytest.raises(Conflict):
                    await store.add_key(double)
            assert await store.list_projects() == [project]
            assert await store.list_keys(project.id) == [key]

    async def test_what_is_not_there_is_said_to_be_missing(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            now = datetime(2026, 1, 1, tzinfo=UTC)
            stranger = some_project("stranger")
            for attempt in (
                store.get_project("nobody"),
                store.set_plan("nobody", "pro"),
                store.set_suspended("nobody", now),
                store.list_keys("nobody"),
                store.add_key(some_key(stranger)),
                store.get_key("none"),
                store.revoke_key("none", now),
                store.replace_key("none", some_key(stranger), now, now),
                store.delete_key("none", now),
            ):
                with pytest.raises(NotFound):
                    await attempt

    async def test_projects_are_read_by_id_and_by_name_and_listed_by_name(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            for name in ("zebra", "acme", "mole"):
                await store.add_project(some_project(name))
            projects = await store.list_projects()
            assert [project.name for project in projects] == ["acme", "mole", "zebra"]
            for project in projects:
                assert await store.get_project(project.id) == project == await store.get_project(project.name)

    async def test_a_change_of_a_project_shows_in_all_of_its_keys_and_in_no_other(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            await store.add_project(other := some_project("other"))
            keys = [some_key(project), some_key(project)]
            for key in [*keys, bystander := some_key(other)]:
                await store.add_key(key)
                assert await store.find(key.digest) == key  # a cache has seen it before the change
            at = datetime(2026, 2, 1, tzinfo=UTC)
            assert await store.set_plan(project.id, "pro") == replace(project, plan="pro")
            changed = await store.set_suspended(project.id, at)
            assert changed == replace(project, plan="pro", suspended_at=at)
            for key in keys:
                assert await store.find(key.digest) == replace(key, project=changed)
            assert await store.find(bystander.digest) == bystander
            assert await store.list_keys(project.id) == [replace(key, project=changed) for key in keys]

    async def test_suspending_twice_keeps_the_first_time_and_resuming_ends_it(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            first = datetime(2026, 2, 1, tzinfo=UTC)
            assert (await store.set_suspended(project.id, first)).suspended_at == first
            assert (await store.set_suspended(project.id, first + DAY)).suspended_at == first
            assert (await store.set_suspended(project.id, None)).suspended_at is None
            assert (await store.set_suspended(project.id, first + DAY)).suspended_at == first + DAY

    async def test_revoking_is_for_ever_and_keeps_its_first_time(self) -> None:
        clock = TurnableClock()
        async with self.open_store(clock) as store:
            await store.add_project(project := some_project())
            await store.add_key(key := some_key(project))
            assert await store.find(key.digest) == key
            at = utcnow(clock)
            revoked = replace(key, revoked_at=at)
            assert await store.revoke_key(key.id, at) == revoked
            assert await store.revoke_key(key.id, at + DAY) == revoked
            assert await store.find(key.digest) == revoked

    async def test_a_rotation_adds_the_successor_and_lets_the_old_key_die(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            await store.add_key(old := some_key(project))
            successor = some_key(project, replaces=old.id, family=old.family)
            assert await store.find(successor.digest) is None
            now = datetime(2026, 2, 1, tzinfo=UTC)
            await store.replace_key(old.id, successor, now, now + DAY)
            assert await store.find(successor.digest) == successor
            assert await store.find(old.digest) == replace(old, expires_at=now + DAY)

    async def test_a_rotation_never_lengthens_the_old_keys_life(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            now = datetime(2026, 2, 1, tzinfo=UTC)
            await store.add_key(old := some_key(project, expires_at=now + timedelta(hours=1)))
            await store.replace_key(old.id, some_key(project, replaces=old.id), now, now + DAY)
            assert await store.find(old.digest) == old

    async def test_a_second_rotation_names_the_successor_and_writes_nothing(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            await store.add_key(old := some_key(project))
            now = datetime(2026, 2, 1, tzinfo=UTC)
            await store.replace_key(old.id, first := some_key(project, replaces=old.id), now, now + DAY)
            second = some_key(project, replaces=old.id)
            with pytest.raises(Conflict, match=first.id):
                await store.replace_key(old.id, second, now, now)
            assert await store.find(second.digest) is None
            assert await store.find(old.digest) == replace(old, expires_at=now + DAY)

    async def test_a_key_whose_successor_is_gone_can_be_rotated_again(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            await store.add_key(old := some_key(project))
            now = datetime(2026, 2, 1, tzinfo=UTC)
            await store.replace_key(old.id, lost := some_key(project, replaces=old.id), now, now + DAY)
            await store.revoke_key(lost.id, now)
            await store.delete_key(lost.id, now)
            await store.replace_key(old.id, second := some_key(project, replaces=old.id), now, now + DAY)
            assert await store.find(second.digest) == second

    async def test_a_dead_key_cannot_be_rotated(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            now = datetime(2026, 2, 1, tzinfo=UTC)
            await store.add_key(revoked := some_key(project, revoked_at=now))
            await store.add_key(expired := some_key(project, expires_at=now))
            for dead in (revoked, expired):
                with pytest.raises(Conflict):
                    await store.replace_key(dead.id, some_key(project, replaces=dead.id), now, now + DAY)
            assert len(await store.list_keys(project.id)) == 2

    async def test_only_dead_keys_can_be_deleted_and_then_they_are_gone(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            now = datetime(2026, 2, 1, tzinfo=UTC)
            await store.add_key(key := some_key(project))
            with pytest.raises(Conflict):
                await store.delete_key(key.id, now)
            await store.revoke_key(key.id, now)
            assert await store.find(key.digest) is not None
            await store.delete_key(key.id, now)
            assert await store.find(key.digest) is None
            assert await store.list_keys(project.id) == []
            with pytest.raises(NotFound):
                await store.delete_key(key.id, now)

    async def test_keys_are_listed_as_they_were_created(self) -> None:
        async with self.open_store(TurnableClock()) as store:
            await store.add_project(project := some_project())
            keys = [some_key(project, created_at=datetime(2026, 1, 1 + day, tzinfo=UTC)) for day in range(5)]
            for key in keys:
                await store.add_key(key)
            assert await store.list_keys(project.id) == keys
