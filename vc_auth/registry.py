"""Projects and keys, from creation to deletion. A few calls a day: every one checks its input and writes once."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from vc_auth.clock import Clock, utcnow
from vc_auth.errors import Fault, InvalidInput
from vc_auth.inputs import check_digest, check_name, check_networks, check_scopes, later
from vc_auth.keys import KeyFormat, Secret
from vc_auth.periods import Period, span, told_by
from vc_auth.plans import Plan
from vc_auth.records import KeyRecord, KeyTotals, Network, Project, Scopes, Usage
from vc_auth.stores import KeyStore, UsageStore

PROJECT_ID_PREFIX: Final = "prj_"
KEY_ID_PREFIX: Final = "key_"
GRACE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. ``secret.reveal()`` is the plain key; it is stored nowhere, so now or never."""

    record: KeyRecord
    secret: Secret


class Registry:
    """The management of projects and keys. Arguments called ``project`` take a Project, its id or its name.

    Every method raises InvalidInput for what cannot be, NotFound, and Conflict; then nothing was written. BackendError
    (or what the store raises) leaves the outcome unknown; all methods but the creating ones can simply be called again.
    """

    def __init__(
        self,
        store: KeyStore,
        usage: UsageStore | None,
        *,
        plans: Mapping[str, Plan],
        key_format: KeyFormat,
        known_scopes: Iterable[str],
        default_scopes: Iterable[str],
        clock: Clock,
    ) -> None:
        self._store = store
        self._usage = usage
        self._plans = plans
        self._key_format = key_format
        self._known_scopes = Scopes(known_scopes)
        self._default_scopes = Scopes(default_scopes)
        self._now = partial(utcnow, clock)

    # -- projects ------------------------------------------------------------------------------------------------------

    async def create_project(self, name: str, *, plan: str = "free") -> Project:
        """A new project. The name is 1 to 100 printable characters without quotes, and no other project's."""
        check_name("project name", name)
        if name.startswith(PROJECT_ID_PREFIX):
            raise InvalidInput(f"project name {name!r} looks like an id; do not begin it with {PROJECT_ID_PREFIX!r}")
        self._check_plan(plan)
        project = Project(_new_id(PROJECT_ID_PREFIX), name, plan, created_at=self._now())
        await self._store.add_project(project)
        return project

    async def get_project(self, project: Project | str) -> Project:
        """The project as it is now."""
        return await self._store.get_project(project if isinstance(project, str) else project.id)

    async def list_projects(self) -> list[Project]:
        """All projects by their names."""
        return await self._store.list_projects()

    async def change_plan(self, project: Project | str, plan: str) -> Project:
        """Put the project on another plan. What its keys have spent stays spent, as far as the new burst holds it."""
        self._check_plan(plan)
        return await self._store.set_plan((await self.get_project(project)).id, plan)

    async def suspend_project(self, project: Project | str) -> Project:
        """Answer all of the project's keys 401 until it is resumed. Suspending twice changes nothing."""
        return await self._store.set_suspended((await self.get_project(project)).id, self._now())

    async def resume_project(self, project: Project | str) -> Project:
        """Let the keys of a suspended project work again."""
        return await self._store.set_suspended((await self.get_project(project)).id, None)

    # -- keys ----------------------------------------------------------------------------------------------------------

    async def create_key(
        self,
        project: Project | str,
        name: str,
        *,
        scopes: Iterable[str] | None = None,
        expires_in: timedelta | None = None,
        allowed_networks: Iterable[str | Network] | None = None,
    ) -> NewKey:
        """A new key of the project.

        ``scopes``: None is the default of the settings, an empty set allows nothing. ``expires_in``: None is never.
        ``allowed_networks``: CIDR form, such as "10.0.0.0/8"; None is anywhere.
        """
        secret = self._key_format.generate()
        record = await self._record(project, name, secret.digest, secret.display, scopes, expires_in, allowed_networks)
        await self._store.add_key(record)
        return NewKey(record, secret)

    async def import_key(
        self,
        project: Project | str,
        name: str,
        *,
        digest: str,
        display: str = "",
        scopes: Iterable[str] | None = None,
        expires_in: timedelta | None = None,
        allowed_networks: Iterable[str | Network] | None = None,
    ) -> KeyRecord:
        """Take over a key that exists elsewhere, by its digest (see `vc_auth.keys.digest`); else like `create_key`."""
        check_digest(digest)
        record = await self._record(project, name, digest, display, scopes, expires_in, allowed_networks)
        await self._store.add_key(record)
        return record

    async def get_key(self, key_id: str) -> KeyRecord:
        """The key as it is now, with its project."""
        return await self._store.get_key(key_id)

    async def list_keys(self, project: Project | str) -> list[KeyRecord]:
        """All keys of the project, the oldest first, also dead ones."""
        return await self._store.list_keys((await self.get_project(project)).id)

    async def revoke_key(self, key_id: str) -> KeyRecord:
        """Refuse the key from the next request on, for ever. Revoking twice changes nothing."""
        return await self._store.revoke_key(key_id, self._now())

    async def rotate_key(self, key_id: str, *, grace: timedelta = GRACE) -> NewKey:
        """A successor with the same name, project, scopes and networks; the old key dies after ``grace`` (0: at once).

        Both share a bucket. The successor lives as long as the old key was made to live, counted from now. Raises
        Conflict if the old key is revoked or expired, or was rotated already; the sentence names its successor.
        """
        if grace < timedelta(0):
            raise InvalidInput(f"a grace of {grace} lies in the past; give 0 or more")
        old, now, secret = await self._store.get_key(key_id), self._now(), self._key_format.generate()
        lifetime = old.expires_at - old.created_at if old.expires_at and old.created_at else None
        successor = replace(
            old,
            id=_new_id(KEY_ID_PREFIX),
            digest=secret.digest,
            display=secret.display,
            created_at=now,
            expires_at=later("the successor's life", now, lifetime),
            replaces=old.id,
        )
        dies_at = later("the grace", now, grace)
        await self._store.replace_key(key_id, successor, now, dies_at or now)
        return NewKey(successor, secret)

    async def delete_key(self, key_id: str) -> None:
        """Remove a revoked or expired key. Raises Conflict while it is active."""
        await self._store.delete_key(key_id, self._now())

    # -- usage ---------------------------------------------------------------------------------------------------------

    async def usage(
        self,
        project: Project | str,
        *,
        key_id: str | None = None,
        by: Period = "day",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Usage]:
        """The requests of a project's keys, or of one of them (also if it was deleted since), period by period.

        ``by``: "hour", "day" or "month", of UTC. From the period that ``since`` lies in, up to ``until``, by default to
        the end of the present one; without ``since`` the last 24 hours, 30 days or 12 months. Idle periods are there,
        with zeros. Servers write what they count every `Settings.usage_flush_interval` seconds, so this is as far
        behind. Raises Fault if the store keeps no usage.
        """
        since, until = span(by, since, until, self._now())
        project = await self.get_project(project)
        return told_by(by, await self._kept_usage.usage_by_hour(project.id, key_id, since, until), since, until)

    async def key_totals(self, project: Project | str, *, key_id: str | None = None) -> dict[str, KeyTotals]:
        """How many requests each key of a project has seen, and when the last one; unused keys are left out.

        ``key_id``: this one only. As far behind as `usage`. Raises Fault if the store keeps no usage.
        """
        return await self._kept_usage.key_totals((await self.get_project(project)).id, key_id)

    @property
    def _kept_usage(self) -> UsageStore:
        if self._usage is None:
            raise Fault("this store keeps no usage; for that it needs all of vc_auth.stores.UsageStore")
        return self._usage

    # -- what can be ---------------------------------------------------------------------------------------------------

    async def _record(
        self,
        project: Project | str,
        name: str,
        digest: str,
        display: str,
        scopes: Iterable[str] | None,
        expires_in: timedelta | None,
        allowed_networks: Iterable[str | Network] | None,
    ) -> KeyRecord:
        check_name("key name", name)
        if expires_in is not None and expires_in <= timedelta(0):
            raise InvalidInput(f"a life of {expires_in} is over before it begins; give more than 0, or None for no end")
        granted = self._default_scopes if scopes is None else check_scopes(scopes, self._known_scopes)
        networks = None if allowed_networks is None else check_networks(allowed_networks)
        now = self._now()
        return KeyRecord(
            id=_new_id(KEY_ID_PREFIX),
            digest=digest,
            project=await self.get_project(project),
            name=name,
            display=display,
            scopes=granted,
            allowed_networks=networks,
            created_at=now,
            expires_at=later("the key's life", now, expires_in),
        )

    def _check_plan(self, plan: str) -> None:
        if plan not in self._plans:
            raise InvalidInput(f"no plan {plan!r}; the settings know {', '.join(sorted(self._plans))}")


def _new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(8)
