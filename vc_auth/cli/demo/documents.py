"""What the contract documents, to the byte. Nothing here is computed by the code that it is to check."""

from collections.abc import Iterator
from dataclasses import dataclass
from string import Template
from typing import Final

from vc_auth.cli.demo.bucket import Bucket, State
from vc_auth.cli.demo.wire import Answer, Exchange

Headers = tuple[tuple[str, str], ...]

JSON: Final[Headers] = (("content-type", "application/json"),)
OURS: Final[Headers] = (*JSON, ("cache-control", "no-store"))
LIMITS: Final[Headers] = (
    ("ratelimit-policy", '"free";q=100;w=100'),
    ("ratelimit", '"free";r=$remaining;t=1'),
    ("x-ratelimit-limit", "100"),
    ("x-ratelimit-remaining", "$remaining"),
    ("x-ratelimit-reset", "$full_at"),
)


@dataclass(frozen=True, slots=True)
class Documented:
    """An answer with ``$remaining``, ``$reset`` and ``$full_at`` where a bucket's numbers stand.

    Besides ``headers`` there are an exact Content-Length, the limit headers if there is a bucket, and no others.
    """

    status: int
    body: str
    headers: Headers

    def answers(self, exchange: Exchange, bucket: Bucket | None) -> Iterator[Answer]:
        """Every whole answer that this exchange may have had."""
        if bucket is None:
            yield self._filled(State(0, 0, 0), self.headers)
            return
        for state in bucket.states(exchange.sent, exchange.received, admitted=self.status != 429):
            yield self._filled(state, self.headers + LIMITS)

    def _filled(self, state: State, headers: Headers) -> Answer:
        numbers = state._asdict()
        body = Template(self.body).substitute(numbers)
        filled = [(name, Template(value).substitute(numbers)) for name, value in headers]
        return Answer(self.status, tuple(sorted([*filled, ("content-length", str(len(body.encode())))])), body)


def challenge(value: str) -> Headers:
    """The headers of an answer of ours with this WWW-Authenticate."""
    return (*OURS, ("www-authenticate", value))


MISSING_KEY: Final = Documented(
    401,
    '{"error":"Missing API key","message":"Authorization header is required","status":401}',
    challenge('Bearer realm="vc_auth"'),
)
MALFORMED: Final = Documented(
    401,
    '{"error":"Invalid authorization format",'
    '"message":"Authorization header must be in format: Bearer YOUR_API_KEY","status":401}',
    challenge('Bearer realm="vc_auth", error="invalid_request"'),
)
INVALID_KEY: Final = Documented(
    401,
    '{"error":"Invalid API key","message":"The provided API key is invalid or has been revoked","status":401}',
    challenge('Bearer realm="vc_auth", error="invalid_token"'),
)
FORBIDDEN_BODY: Final = (
    '{"error":"Forbidden","message":"API key doesn\'t have permission for this request","status":403}'
)
FORBIDDEN: Final = Documented(403, FORBIDDEN_BODY, OURS)
INSUFFICIENT_SCOPE: Final = Documented(
    403, FORBIDDEN_BODY, challenge('Bearer realm="vc_auth", error="insufficient_scope", scope="cache:read"')
)
RATE_LIMITED: Final = Documented(
    429,
    '{"error":"Rate limit exceeded","message":"You have exceeded your rate limit. Please try again later.",'
    '"retry_after":1,"status":429}',
    (*OURS, ("retry-after", "1")),
)

HEALTHY: Final = Documented(200, '{"status":"ok"}', JSON)
MISS: Final = Documented(
    200, '{"hit":false,"response":"I thought hard about your 23 characters. The answer is 42."}', JSON
)
HIT: Final = Documented(
    200, '{"hit":true,"response":"I thought hard about your 23 characters. The answer is 42."}', JSON
)


def usage_of(display: str, admitted: int) -> Documented:
    """What ``GET /api/v1/usage`` says of the key with this display form, of which so many requests were admitted."""
    return Documented(
        200,
        f'{{"project":"acme","plan":"free","key":"{display}","limit":100,"remaining":$remaining,"reset":$reset,'
        f'"last_30_days":{{"admitted":{admitted},"limited":0,"forbidden":0}}}}',
        JSON,
    )
