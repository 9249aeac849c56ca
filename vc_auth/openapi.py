"""What our answers look like, for OpenAPI 3.1: made from the answers themselves, so that it cannot drift."""

import json
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final

from vc_auth.errors import (
    Denied,
    Forbidden,
    InsufficientScope,
    InvalidKey,
    MalformedHeader,
    MissingKey,
    RateLimited,
    Unavailable,
)
from vc_auth.plans import FREE
from vc_auth.rates import token_bucket
from vc_auth.responses import Header, LimitHeaders, reply_to

_ABOUT: Final = {
    "Cache-Control": "An answer about a key is never cached.",
    "WWW-Authenticate": "What is wrong with the credentials (RFC 6750, 3).",
    "Retry-After": "Seconds to wait before the next try: the same number as in the body.",
    "RateLimit-Policy": "The plan: a burst of `q` that takes `w` seconds to refill.",
    "RateLimit": "What could be sent now (`r`), and the seconds until one more (`t`).",
    "X-RateLimit-Limit": "The plan's burst.",
    "X-RateLimit-Remaining": "What could be sent now.",
    "X-RateLimit-Reset": "The second since 1970 (UTC) in which the bucket is full.",
}
_NAMES: Final = {name.lower().encode(): name for name in _ABOUT}
_NOW: Final = 1_795_291_200_000_000_000  # ns; any time would do for an example


def _documented(description: str, examples: Mapping[str, Denied], more: Iterable[Header] = ()) -> dict[str, Any]:
    """One status: its body, as schema and examples, and its headers."""
    replies = {summary: reply_to(denied) for summary, denied in examples.items()}
    bodies = {summary: json.loads(reply.body) for summary, reply in replies.items()}
    headers = dict(chain(*(reply.headers for reply in replies.values()), more))
    return {
        "description": description,
        "headers": {name: _header(name, headers[known].decode()) for known, name in _NAMES.items() if known in headers},
        "content": {
            "application/json": {
                "schema": _schema(next(iter(bodies.values()))),
                "examples": {summary: {"value": body} for summary, body in bodies.items()},
            }
        },
    }


def _header(name: str, value: str) -> dict[str, Any]:
    example = int(value) if value.isdecimal() else value
    return {"description": _ABOUT[name], "schema": _type(example), "example": example}


def _schema(body: Mapping[str, str | int]) -> dict[str, Any]:
    """Exactly these members, of these types, and this status."""
    types = {name: _type(value) for name, value in body.items()}
    types["status"]["enum"] = [body["status"]]
    return {"type": "object", "properties": types, "required": list(body), "additionalProperties": False}


def _type(value: str | int) -> dict[str, Any]:
    return {"type": "integer" if isinstance(value, int) else "string"}


_, _refusal = token_bucket(FREE.rate.capacity_us, FREE.rate.emission_us, 0, FREE.rate)

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: _documented(
        "No key, or none that is good.",
        {
            "no Authorization line": MissingKey(),
            "not exactly one `Bearer` and one token": MalformedHeader(),
            "unknown, expired or revoked": InvalidKey(),
        },
    ),
    403: _documented(
        "The key is good, and this request is not for it.",
        {
            "another project's key, or an address that is not allowed": Forbidden(),
            "the key lacks a scope": InsufficientScope(["cache:write"]),
        },
    ),
    429: _documented(
        "The plan's bucket is empty.",
        {"the bucket is empty": RateLimited(_refusal, FREE.name)},
        LimitHeaders(FREE, ("RateLimit", "X-RateLimit")).after(_refusal, _NOW),
    ),
    503: _documented("It cannot be known whether the key is good.", {"the store cannot say": Unavailable()}),
}
"""For ``FastAPI(responses=RESPONSES)``: the documented 401, 403, 429 and 503 of every route."""
