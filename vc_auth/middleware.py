"""The ASGI door: http, websocket and lifespan."""

from collections.abc import Callable, Sequence
from typing import Final

from starlette._utils import get_route_path  # the router's own idea of the path: another one could be played against it
from starlette.types import ASGIApp, Receive, Scope, Send

from vc_auth.addresses import client_address, parse_network
from vc_auth.answer import Answer, Handshake
from vc_auth.assembly import VCAuth
from vc_auth.errors import Denied, RateLimited
from vc_auth.lifespan import Lifespan
from vc_auth.paths import PublicPaths
from vc_auth.policy import check_project
from vc_auth.responses import Header, LimitHeaders, refuse
from vc_auth.settings import Settings
from vc_auth.users import ANYONE, NO_CREDENTIALS, APIKeyUser, credentials_with

_NO_HEADERS: Final[Sequence[Header]] = ()
_PREFLIGHT: Final = frozenset((b"origin", b"access-control-request-method"))


class APIKeyMiddleware:
    """Admits requests by their API key, and answers the others as the contract says.

    ``auth`` is what to ask; without it, one is made from ``settings``, or from the environment (``VC_AUTH_*``).
    ``project`` names the one project (id or name) whose keys may enter, or is a function that reads from the ASGI scope
    which project a request addresses; None, given or returned, addresses none in particular.

    An admitted request has ``scope["user"]``, a `vc_auth.APIKeyUser`, and ``scope["auth"]`` with its scopes; a public
    one has no user and no scopes, whatever it carries. The server's own scope is never changed.
    """

    def __init__(
        self,
        app: ASGIApp,
        auth: VCAuth | None = None,
        *,
        settings: Settings | None = None,
        project: str | Callable[[Scope], str | None] | None = None,
    ) -> None:
        if auth is not None and settings is not None:
            raise TypeError("give APIKeyMiddleware either auth= or settings=: an auth has its settings already")
        self.app = app
        self.auth = auth = auth if auth is not None else VCAuth(settings)
        self._admit = auth.guard.admit
        self._time_ns = auth.clock.time_ns
        self._project_of = project if callable(project) else None
        self._project = None if callable(project) else project
        self._public = PublicPaths(auth.settings.public_paths)
        self._allow_preflight = auth.settings.allow_preflight
        self._some_are_public = bool(auth.settings.public_paths) or auth.settings.allow_preflight
        self._trusted_proxies = tuple(parse_network(proxy) for proxy in auth.settings.trusted_proxies)
        self._client_of = self._behind_proxies if self._trusted_proxies else None
        self._strip_authorization = auth.settings.strip_authorization
        families = auth.settings.rate_limit_headers
        self._limit_headers = {plan.name: LimitHeaders(plan, families) for plan in auth.plans.values() if families}
        self._grant_key = f"vc_auth.grant.{id(auth):x}"  # marks what this very guard has admitted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901  # a frame costs 100 ns
        """See the ASGI specification, 3.0. Raises ValueError for a scope type that it does not define."""
        kind = scope["type"]
        if (kind != "http" and kind != "websocket") or self._grant_key in scope:
            await self._pass(scope, receive, send)
            return
        inner, headers, limits = dict(scope), scope["headers"], _NO_HEADERS
        if type(headers) is not list:  # any iterable will do, and some give their lines only once
            headers = inner["headers"] = list(headers)
        try:
            if self._some_are_public and self._is_public(scope, headers):
                inner["user"], inner["auth"] = ANYONE, NO_CREDENTIALS
            else:
                client = scope.get("client")
                grant = await self._admit(
                    headers,
                    client and client[0] if self._client_of is None else self._client_of(client, headers),
                    self._project if self._project_of is None else self._project_of(scope),
                )
                inner["user"], inner["auth"] = APIKeyUser(grant), credentials_with(grant.record.scopes)
                inner[self._grant_key] = grant
                if self._limit_headers and grant.decision is not None:
                    limits = self._limit_headers[grant.plan.name].after(grant.decision, self._time_ns())
        except Denied as denied:
            await refuse(denied, scope, receive, send, self._limits_of(denied))
            return
        if self._strip_authorization:
            inner["headers"] = [header for header in headers if header[0].lower() != b"authorization"]
        if kind == "websocket":
            receive = Handshake(receive)
        answer = Answer(send, limits)
        try:
            await self.app(inner, receive, answer.send)
        except Denied as denied:
            await answer.refuse(denied, scope, receive)
        except Exception:
            await answer.release()
            raise
        if answer.withheld:
            await answer.release()

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is not to be admitted: lifespan, and what this very guard has admitted further out in the stack."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if self._grant_key not in scope:
            raise ValueError(f"vc_auth cannot guard a scope of type {scope['type']!r}, so it refuses it")
        project = self._project if self._project_of is None else self._project_of(scope)
        if project is not None:  # it may be another one than further out
            try:
                check_project(scope[self._grant_key].record, project)
            except Denied as denied:
                await refuse(denied, scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        lifespan = Lifespan(self.auth, receive, send)
        try:
            await self.app(scope, lifespan.receive, lifespan.send)
        finally:
            await lifespan.close()

    def _is_public(self, scope: Scope, headers: Sequence[Header]) -> bool:
        path = get_route_path(scope) if scope.get("root_path") else scope["path"]
        if path in self._public:
            return True
        if not self._allow_preflight or scope.get("method") != "OPTIONS":
            return False
        return {name.lower() for name, _ in headers} >= _PREFLIGHT

    def _behind_proxies(self, client: tuple[str, int] | None, headers: Sequence[Header]) -> str | None:
        forwarded = [value for name, value in headers if name.lower() == b"x-forwarded-for"]
        return client_address(client and client[0], forwarded, self._trusted_proxies)

    def _limits_of(self, denied: Denied) -> Sequence[Header]:
        if self._limit_headers and isinstance(denied, RateLimited):
            return self._limit_headers[denied.plan].after(denied.decision, self._time_ns())
        return _NO_HEADERS
