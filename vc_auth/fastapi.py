"""FastAPI: a dependency that gives a route its user, and that documents itself in OpenAPI."""

from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from vc_auth.errors import Forbidden
from vc_auth.openapi import RESPONSES
from vc_auth.users import APIKeyUser, missing_scopes

__all__ = ["RESPONSES", "APIKeyBearer"]


class APIKeyBearer(SecurityBase):
    """The user of a route, and what its key must be allowed to do.

    ::

        @app.post("/v1/query")
        async def query(user: Annotated[APIKeyUser, Security(APIKeyBearer(), scopes=["cache:read"])]): ...

    Also as a default value, in ``dependencies=[...]`` of a router or an application, and for websockets. A key that
    lacks a scope is answered with the contract's own 403 and a challenge that names the scopes; so is every request to
    a public path, which has no user. In OpenAPI the routes get the bearer scheme ``scheme_name`` with their scopes, and
    an Authorize button.

    All instances of one name are equal, so that ``app.dependency_overrides[APIKeyBearer()]`` overrides each of them.
    On a request that no middleware has seen, a RuntimeError says which line to add.
    """

    def __init__(self, *, scheme_name: str = "APIKeyBearer", description: str | None = "Your API key.") -> None:
        self.scheme_name = scheme_name
        self.model = HTTPBearer(description=description)

    async def __call__(self, connection: HTTPConnection, scopes: SecurityScopes) -> APIKeyUser:
        """The user of this request. Raises InsufficientScope and Forbidden, which leave as the documented 403."""
        missing = missing_scopes(connection, scopes.scopes, asked_by="APIKeyBearer")
        if missing is not None:
            raise missing
        user = connection.scope["user"]
        if not isinstance(user, APIKeyUser):
            raise Forbidden
        return user

    def __eq__(self, other: object) -> bool:
        return isinstance(other, APIKeyBearer) and other.scheme_name == self.scheme_name

    def __hash__(self) -> int:
        return hash((APIKeyBearer, self.scheme_name))
