"""Projects and keys in this process: for tests, demos, and keys that come from code at every start."""

from dataclasses import replace
from datetime import datetime

from vc_auth.errors import Conflict, NotFound
from vc_auth.records import KeyRecord, KeyTotals, Project, Usage, UsageBatch


class MemoryUsage:
    """A `vc_auth.stores.UsageStore` in dictionaries. No verb awaits anything, so each is atomic on its loop."""

    def __init__(self) -> None:
        self._last_seqs: dict[str, int] = {}  # worker -> seq
        self._hours: dict[tuple[str, str | None], dict[datetime, Usage]] = {}  # project id and key id (None: all)
        self._totals: dict[str, dict[str, KeyTotals]] = {}  # project id -> key id

    async def add_usage(self, batch: UsageBatch) -> None:
        """See `vc_auth.stores.UsageStore`, also for the verbs below."""
        if batch.seq <= self._last_seqs.get(batch.worker, 0):
            return
        self._last_seqs[batch.worker] = batch.seq
        for count in batch.counts:
            for key_id in (count.key_id, None):
                hours = self._hours.setdefault((count.project_id, key_id), {})
                hours[count.hour] = hours.get(count.hour, Usage(count.hour)) + count
            totals = self._totals.setdefault(count.project_id, {})
            before = totals.get(count.key_id, KeyTotals())
            last = max(before.last_used_at or count.last_used_at, count.last_used_at)
            totals[count.key_id] = KeyTotals(before.requests + count.requests, last)

    async def usage_by_hour(self, project_id: str, key_id: str | None, since: datetime, until: datetime) -> list[Usage]:
        hours = self._hours.get((project_id, key_id), {})
        return [hours[hour] for hour in sorted(hours) if since <= hour < until]

    async def key_totals(self, project_id: str, key_id: str | None = None) -> dict[str, KeyTotals]:
        totals = self._totals.get(project_id, {})
        return {known: totals[known] for known in totals if key_id in (known, None)}


class MemoryKeyStore(MemoryUsage):
    """A `vc_auth.stores.KeyStore` and `UsageStore` in dictionaries. No verb awaits anything, so each is atomic."""

    def __init__(self) -> None:
        super().__init__()
        self._projects: dict[str, Project] = {}
        self._keys: dict[str, KeyRecord] = {}
        self._ids: dict[str, str] = {}  # digest -> key id
        self._successors: dict[str, str] = {}

    async def find(self, digest: str) -> KeyRecord | None:
        """See `vc_auth.stores.KeyFinder`."""
        key_id = self._ids.get(digest)
        return self._as_it_is_now(self._keys[key_id]) if key_id is not None else None

    async def add_project(self, project: Project) -> None:
        """See `vc_auth.stores.KeyStore`, also for the verbs below."""
        for other in self._projects.values():
            if project.id == other.id or project.name == other.name:
                raise Conflict(f"a project called {other.name!r} exists already ({other.id})")
        self._projects[project.id] = project

    async def get_project(self, ref: str) -> Project:
        for project in self._projects.values():
            if ref in (project.id, project.name):
                return project
        raise NotFound(f"no project {ref!r}")

    async def list_projects(self) -> list[Project]:
        return sorted(self._projects.values(), key=lambda project: project.name)

    async def set_plan(self, project_id: str, plan: str) -> Project:
        return self._change(project_id, plan=plan)

    async def set_suspended(self, project_id: str, at: datetime | None) -> Project:
        first = self._project(project_id).suspended_at
        return self._change(project_id, suspended_at=at if first is None or at is None else first)

    async def add_key(self, record: KeyRecord) -> None:
        self._project(record.project.id)
        if record.id in self._keys or record.digest in self._ids:
            raise Conflict(f"key {record.id} exists already")
        self._keys[record.id] = record
        self._ids[record.digest] = record.id

    async def get_key(self, key_id: str) -> KeyRecord:
        try:
            return self._as_it_is_now(self._keys[key_id])
        except KeyError:
            raise NotFound(f"no key {key_id!r}") from None

    async def list_keys(self, project_id: str) -> list[KeyRecord]:
        self._project(project_id)
        return [self._as_it_is_now(record) for record in self._keys.values() if record.project.id == project_id]

    async def revoke_key(self, key_id: str, at: datetime) -> KeyRecord:
        record = await self.get_key(key_id)
        if record.revoked_at is None:
            record = self._keys[key_id] = replace(record, revoked_at=at)
        return record

    async def replace_key(self, key_id: str, successor: KeyRecord, at: datetime, dies_at: datetime) -> None:
        old = await self.get_key(key_id)
        if key_id in self._successors:
            raise Conflict(f"key {key_id} was rotated already; its successor is {self._successors[key_id]}")
        if (status := old.status(at)) != "active":
            raise Conflict(f"key {key_id} is {status} and cannot be rotated")
        await self.add_key(successor)
        self._successors[key_id] = successor.id
        self._keys[key_id] = replace(old, expires_at=min(dies_at, old.expires_at or dies_at))

    async def delete_key(self, key_id: str, at: datetime) -> None:
        record = await self.get_key(key_id)
        if record.status(at) == "active":
            raise Conflict(f"key {key_id} is active; revoke it first")
        del self._keys[key_id], self._ids[record.digest]
        self._successors = {old: new for old, new in self._successors.items() if key_id not in (old, new)}

    def _project(self, project_id: str) -> Project:
        try:
            return self._projects[project_id]
        except KeyError:
            raise NotFound(f"no project {project_id!r}") from None

    def _change(self, project_id: str, **changes: str | datetime | None) -> Project:
        project = self._projects[project_id] = replace(self._project(project_id), **changes)  # type: ignore[arg-type]  # typeshed's replace() takes no union of field types
        return project

    def _as_it_is_now(self, record: KeyRecord) -> KeyRecord:
        return replace(record, project=self._projects[record.project.id])
