"""A cache of LLM answers as its owners would write it with FastAPI: ten routes, a mounted app, and a websocket."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, FastAPI, HTTPException, Path, Query, Response, Security, WebSocket
from pydantic import BaseModel, ConfigDict, Field

from vc_auth import APIKeyMiddleware, APIKeyUser, Forbidden, VCAuth
from vc_auth.errors import NotFound
from vc_auth.fastapi import RESPONSES, APIKeyBearer

Caller = Annotated[APIKeyUser, Security(APIKeyBearer())]
Reader = Annotated[APIKeyUser, Security(APIKeyBearer(), scopes=["cache:read"])]
Writer = Annotated[APIKeyUser, Security(APIKeyBearer(), scopes=["cache:write"])]
Analyst = Annotated[APIKeyUser, Security(APIKeyBearer(), scopes=["analytics:read"])]
Manager = Annotated[APIKeyUser, Security(APIKeyBearer(), scopes=["keys:manage"])]
EntryId = Annotated[str, Path(pattern="^[a-z0-9]{1,16}$")]

Responses = dict[int | str, dict[str, Any]]
EVERYWHERE: Final[Responses] = {400: {"description": "The body is not UTF-8."}, **RESPONSES}
NOT_FOUND: Final[Responses] = {404: {"description": "There is none."}}
CONFLICT: Final[Responses] = {409: {"description": "A key cannot revoke itself."}}


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Entry(Model):
    prompt: str = Field(max_length=200)
    answer: str = Field(max_length=200)


class Me(Model):
    project: str
    plan: str
    scopes: list[str]


class Day(Model):
    day: datetime
    requests: int


class NewKey(Model):
    name: str = Field(pattern="^[a-z0-9]{1,20}$")
    scopes: list[Literal["cache:read", "cache:write", "analytics:read"]] = []


class Key(Model):
    id: str
    name: str
    display: str


class IssuedKey(Key):
    key: str


def create_service(auth: VCAuth) -> FastAPI:
    """The application, behind this auth."""
    app = FastAPI(title="Semantic cache", responses=EVERYWHERE)
    app.add_middleware(APIKeyMiddleware, auth=auth)
    entries: dict[tuple[str, str], Entry] = {}

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.get("/v1/me")
    async def me(user: Caller) -> Me:
        return Me(project=user.project.name, plan=user.plan.name, scopes=sorted(user.key.scopes))

    @app.post("/v1/query")
    def query(entry: Entry, user: Reader) -> list[Entry]:
        return [known for (owner, _), known in entries.items() if owner == user.project.id and known == entry]

    @app.put("/v1/entries/{entry_id}", status_code=204)
    async def put(entry_id: EntryId, entry: Entry, user: Writer) -> None:
        entries[user.project.id, entry_id] = entry

    @app.get("/v1/entries/{entry_id}", responses=NOT_FOUND)
    async def read(entry_id: EntryId, user: APIKeyUser = Security(APIKeyBearer(), scopes=["cache:read"])) -> Entry:  # noqa: B008  # the older style
        if (entry := entries.get((user.project.id, entry_id))) is None:
            raise HTTPException(404)
        return entry

    @app.delete("/v1/entries/{entry_id}", status_code=204)
    async def delete(entry_id: EntryId, user: Writer) -> None:
        entries.pop((user.project.id, entry_id), None)

    @app.get("/v1/usage")
    async def usage(user: Analyst, by: Annotated[str, Query(pattern="^(hour|day|month)$")] = "day") -> list[Day]:
        told = await auth.registry.usage(user.project, by=by)  # type: ignore[arg-type]  # the pattern says so
        return [Day(day=one.start.astimezone(UTC), requests=one.requests) for one in told]

    app.include_router(key_routes(auth))
    app.mount("/operators", create_operators_app())

    @app.websocket("/v1/stream")
    async def stream(websocket: WebSocket, user: Reader) -> None:
        await websocket.accept()
        await websocket.send_json({"project": user.project.name})
        await websocket.close()

    return app


def key_routes(auth: VCAuth) -> APIRouter:
    """Keys of the caller's own project; the scope is asked for by the router."""
    router = APIRouter(prefix="/v1/keys", dependencies=[Security(APIKeyBearer(), scopes=["keys:manage"])])

    @router.get("")
    async def keys(user: Caller) -> list[Key]:
        records = await auth.registry.list_keys(user.project)
        return [Key(id=record.id, name=record.name, display=record.display) for record in records]

    @router.post("", status_code=201)
    async def create(wanted: NewKey, user: Caller) -> IssuedKey:
        new = await auth.registry.create_key(user.project, wanted.name, scopes=wanted.scopes)
        record = new.record
        return IssuedKey(id=record.id, name=record.name, display=record.display, key=new.secret.reveal())

    @router.delete("/{key_id}", status_code=204, responses={**NOT_FOUND, **CONFLICT})
    async def revoke(key_id: str, user: Caller) -> None:
        try:
            record = await auth.registry.get_key(key_id)
        except NotFound as error:
            raise HTTPException(404) from error
        if record.project.id != user.project.id:
            raise Forbidden
        if record.id == user.key.id:
            raise HTTPException(409)
        await auth.registry.revoke_key(key_id)

    return router


def create_operators_app() -> FastAPI:
    """An app of its own, mounted in the other."""
    app = FastAPI(title="Operators", responses=EVERYWHERE)

    @app.get("/whoami")
    async def whoami(user: Manager) -> Me:
        return Me(project=user.project.name, plan=user.plan.name, scopes=sorted(user.key.scopes))

    @app.post("/echo", dependencies=[Security(APIKeyBearer(), scopes=["keys:manage"])])
    async def echo(entry: Entry, response: Response) -> Entry:
        response.headers["x-echo"] = "yes"
        return entry

    return app
