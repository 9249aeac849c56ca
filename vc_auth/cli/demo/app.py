"""The application of the demo: an exact-match response cache for conversations, guarded by vc_auth."""

import json
from functools import reduce
from hashlib import sha256
from http import HTTPStatus
from operator import add
from os import PathLike, fspath
from typing import Final, cast

from cachetools import LRUCache
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vc_auth import APIKeyMiddleware, APIKeyUser, Decision, Settings, VCAuth, requires
from vc_auth.errors import BackendError, Unavailable
from vc_auth.rates import whole_seconds
from vc_auth.usage import UsageCounter

PROJECT: Final = "acme"
LONGEST_BODY: Final = 65_536  # bytes
CACHE_SIZE: Final = 10_000  # responses

Conversation = list[dict[str, str]]


def create_settings(file: str | PathLike[str], limiter: str = "memory://", workers: int = 1) -> Settings:
    """The settings of each of so many workers: keys in this SQLite file, buckets in memory or on a Redis."""
    return Settings(
        store=f"sqlite:///{fspath(file)}",
        limiter=limiter,
        limiter_timeout=1.0,  # the tour is about numbers; on a busy machine it waits for them
        limiter_share=1 / workers,  # nobody else could tell how many there are
        public_paths=("/health",),
        usage_flush_interval=0.25,
    )


def create_app(auth: VCAuth) -> Starlette:
    """The application, for the keys of project ``acme`` alone."""
    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/api/v1/check", check, methods=["POST"]),
            Route("/api/v1/usage", usage),
        ],
        middleware=[Middleware(APIKeyMiddleware, auth=auth, project=PROJECT)],
        exception_handlers={HTTPException: _as_json},
    )
    app.state.auth = auth
    app.state.cache = ResponseCache()
    return app


class ResponseCache:
    """Responses by their exact conversation, each project's apart; what was not asked for longest goes first."""

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self._responses: LRUCache[bytes, str] = LRUCache(size)

    def get_or_make(self, project: str, conversation: Conversation) -> tuple[bool, str]:
        """Whether the response was there, and the response."""
        name = sha256(json.dumps([project, conversation], sort_keys=True).encode()).digest()
        response = self._responses.get(name)
        if response is not None:
            return True, response
        response = self._responses[name] = _invent(conversation)
        return False, response


def _invent(conversation: Conversation) -> str:
    """In place of a language model. It repeats nothing of what it was told, so it can be sent to anybody."""
    return f"I thought hard about your {len(conversation[-1]['content'])} characters. The answer is 42."


async def health(_request: Request) -> Response:
    """Public: it needs no key, and takes no token."""
    return JSONResponse({"status": "ok"})


@requires("cache:read")
async def check(request: Request) -> Response:
    """Look the conversation up. A response that is not there is made, and is there the next time."""
    conversation = parse_conversation(await _read_body(request))
    hit, response = request.app.state.cache.get_or_make(request.user.project.id, conversation)
    return JSONResponse({"hit": hit, "response": response})


@requires("analytics:read")
async def usage(request: Request) -> Response:
    """What the key has left, and how often it was used, this very request included.

    ``reset``: seconds until its bucket is full. ``last_30_days``: what all workers counted, and had written by now.
    """
    user = cast("APIKeyUser", request.user)
    decision = cast("Decision", user.decision)  # the demo's settings have a limiter
    auth = cast("VCAuth", request.app.state.auth)
    try:
        await cast("UsageCounter", auth.usage).flush()  # what this worker counted; the others write theirs soon
        used = reduce(add, await auth.registry.usage(user.project, key_id=user.key.id))
    except BackendError as error:
        raise Unavailable from error
    return JSONResponse(
        {
            "project": user.project.name,
            "plan": user.plan.name,
            "key": user.key.display,
            "limit": decision.limit,
            "remaining": decision.remaining,
            "reset": whole_seconds(decision.reset_after_us),
            "last_30_days": {"admitted": used.admitted, "limited": used.limited, "forbidden": used.forbidden},
        }
    )


def parse_conversation(body: bytes) -> Conversation:
    """The messages of a request body. Raises HTTPException 400 for what is not JSON, 422 for another shape."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):  # the latter for a body of brackets only
        raise HTTPException(400, "The body is not JSON.") from None
    messages = data.get("messages") if isinstance(data, dict) else None
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        shape = '{"messages":[{"role":"user","content":"..."}]}'
        raise HTTPException(422, f"The body must look like {shape}, with at least one message.")
    return messages


def _is_message(message: object) -> bool:
    return (
        isinstance(message, dict)
        and message.keys() == {"role", "content"}
        and all(isinstance(value, str) for value in message.values())
    )


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_BODY:
                raise HTTPException(413, f"The body is longer than {LONGEST_BODY} bytes.")
    except ClientDisconnect:
        raise HTTPException(400, "The body ended early.") from None  # nobody hears it, and nothing is logged
    return bytes(body)


async def _as_json(_request: Request, error: Exception) -> Response:
    problem = cast("HTTPException", error)
    words = {"error": HTTPStatus(problem.status_code).phrase, "message": problem.detail, "status": problem.status_code}
    return JSONResponse(words, problem.status_code, problem.headers)
