"""What an application sees of an admitted request: ``request.user``, ``request.auth``, and ``@requires``."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar, cast

from starlette.authentication import AuthCredentials, BaseUser, UnauthenticatedUser
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from vc_auth.errors import InsufficientScope
from vc_auth.plans import Plan
from vc_auth.rates import Decision
from vc_auth.records import Grant, KeyRecord, Project, Scopes
from vc_auth.responses import DeniedResponse

P = ParamSpec("P")
R = TypeVar("R")


class APIKeyUser(BaseUser):
    """``request.user`` of an admitted request."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant

    @property
    def is_authenticated(self) -> bool:
        """True."""
        return True

    @property
    def display_name(self) -> str:
        """The key's name."""
        return self.grant.record.name

    @property
    def identity(self) -> str:
        """The key's id."""
        return self.grant.record.id

    @property
    def key(self) -> KeyRecord:
        """The key, as its record."""
        return self.grant.record

    @property
    def project(self) -> Project:
        """The project that the key belongs to."""
        return self.grant.record.project

    @property
    def plan(self) -> Plan:
        """The project's plan."""
        return self.grant.plan

    @property
    def decision(self) -> Decision | None:
        """What the bucket said when this request was admitted; None without a limiter."""
        return self.grant.decision


class APIKeyCredentials(AuthCredentials):
    """``request.auth``: the key's scopes. Immutable, since requests with the same scopes share it.

    Starlette's own constructor would copy the scopes into a list, which knows no wildcards.
    """

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes

    @property
    def scopes(self) -> Scopes:  # type: ignore[override]  # Starlette says list; all it ever asks is `in`
        """What the key may do."""
        return self._scopes


credentials_with: Final = functools.lru_cache(maxsize=1_024)(APIKeyCredentials)
"""Credentials with these scopes; there are few sets of scopes, and many requests."""
ANYONE: Final = UnauthenticatedUser()
NO_CREDENTIALS: Final = APIKeyCredentials(Scopes())


def requires(*scopes: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a Starlette endpoint answer only requests whose key has all of ``scopes``: ``@requires("cache:write")``.

    For functions, async or not, and methods of HTTPEndpoint, that take a ``request`` or ``websocket``. Others are
    answered with the contract's own 403 and a challenge that names the scopes (RFC 6750, 3.1). Raises ValueError for
    what is no scope, TypeError for a function that takes no connection; on a request that no middleware has seen,
    RuntimeError says which line to add.
    """
    if not scopes:
        raise ValueError("@requires() asks for nothing; name at least one scope")
    InsufficientScope(scopes)  # so that what is no scope is said now, and not on somebody's request

    def decorate(endpoint: Callable[P, R]) -> Callable[P, R]:
        connection = _connection_finder(endpoint)

        @functools.wraps(endpoint)
        async def async_endpoint(*args: P.args, **kwargs: P.kwargs) -> Any:
            asking = connection(args, kwargs)
            refusal = _refusal(asking, scopes)
            if refusal is None:
                return await cast("Awaitable[Any]", endpoint(*args, **kwargs))
            if isinstance(asking, WebSocket):
                return await refusal(asking.scope, asking.receive, asking.send)
            return refusal

        @functools.wraps(endpoint)
        def sync_endpoint(*args: P.args, **kwargs: P.kwargs) -> Any:
            refusal = _refusal(connection(args, kwargs), scopes)
            return endpoint(*args, **kwargs) if refusal is None else refusal

        return cast("Callable[P, R]", async_endpoint if inspect.iscoroutinefunction(endpoint) else sync_endpoint)

    return decorate


def _refusal(connection: HTTPConnection, scopes: tuple[str, ...]) -> DeniedResponse | None:
    missing = missing_scopes(connection, scopes, asked_by="@requires")
    return DeniedResponse(missing) if missing is not None else None


def missing_scopes(connection: HTTPConnection, scopes: Sequence[str], *, asked_by: str) -> InsufficientScope | None:
    """The denial of a request whose key lacks one of ``scopes``, or None.

    Raises RuntimeError for a request that no middleware has seen.
    """
    credentials = connection.scope.get("auth")
    if credentials is None:
        raise RuntimeError(
            f"{asked_by} needs vc_auth's middleware: app.add_middleware(vc_auth.APIKeyMiddleware, auth=auth)"
        )
    if all(scope in credentials.scopes for scope in scopes):
        return None
    return InsufficientScope(scopes)


def _connection_finder(endpoint: Callable[..., object]) -> Callable[[tuple[Any, ...], dict[str, Any]], HTTPConnection]:
    parameters = list(inspect.signature(endpoint).parameters)
    name = next((name for name in ("request", "websocket") if name in parameters), None)
    if name is None:
        raise TypeError(f"{endpoint} takes no `request` or `websocket`, so @requires cannot see whose request it is")
    position = parameters.index(name)
    return lambda args, kwargs: kwargs[name] if name in kwargs else args[position]
