"""For tests of an application behind the middleware: everything in memory, a key that works, and a clock to turn."""

from collections.abc import Coroutine, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from vc_auth.assembly import VCAuth
from vc_auth.errors import NotFound
from vc_auth.keys import Secret
from vc_auth.plans import FREE, Plan
from vc_auth.records import Grant, Network, Project
from vc_auth.settings import Settings
from vc_auth.testing.clock import TurnableClock
from vc_auth.testing.stores import some_key, some_project
from vc_auth.users import APIKeyUser

T = TypeVar("T")

_HEX: Final = "0123456789abcdef" * 2


class MemoryAuth(VCAuth):
    """A `vc_auth.VCAuth` in memory, with one key of project ``acme``, and time that passes when a test says so.

    ::

        auth = MemoryAuth()
        client = TestClient(create_app(auth), headers=auth.headers)
        auth.clock.advance(seconds=60)

    ``settings`` are those of the application, whatever store and limiter they name; by default all defaults. ``plan``
    is that of its projects. `registry` manages keys in tests that are coroutines; `new_key` makes another key in any.
    """

    clock: TurnableClock

    def __init__(self, settings: Settings | None = None, *, plan: str = "free") -> None:
        settings = settings if settings is not None else Settings()
        limiter = "none" if settings.limiter == "none" else "memory://"
        super().__init__(replace(settings, store="memory://", limiter=limiter), clock=TurnableClock())
        self._plan = plan
        self.key = settings.key_prefixes[0] + _HEX
        """The whole key, always the same."""
        self.headers = bearer(self.key)
        """What a client sends with it."""
        self.project = at_once(self.registry.create_project("acme", plan=plan))
        secret = Secret(self.key, f"{self.key[:-28]}...")
        at_once(self.registry.import_key(self.project, "tests", digest=secret.digest, display=secret.display))

    def new_key(
        self,
        project: str = "acme",
        *,
        scopes: Iterable[str] | None = None,
        expires_in: timedelta | None = None,
        allowed_networks: Iterable[str | Network] | None = None,
    ) -> str:
        """Another whole key, of a project that is made if it is not there. See `vc_auth.Registry.create_key`."""
        new = self.registry.create_key(
            self._project(project), "tests", scopes=scopes, expires_in=expires_in, allowed_networks=allowed_networks
        )
        return at_once(new).secret.reveal()

    def _project(self, name: str) -> Project:
        try:
            return at_once(self.registry.get_project(name))
        except NotFound:
            return at_once(self.registry.create_project(name, plan=self._plan))


def bearer(key: str) -> dict[str, str]:
    """The header that presents a key."""
    return {"Authorization": f"Bearer {key}"}


def some_user(plan: Plan = FREE, **fields: Any) -> APIKeyUser:
    """A user of this plan, whose key's record has these fields.

    ``app.dependency_overrides[APIKeyBearer()] = lambda: some_user()`` gives it to routes that no middleware guards.
    """
    return APIKeyUser(Grant(some_key(some_project(plan=plan.name), **fields), plan, None))


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing, as none does on a store in memory."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("it waits for something; await it")
