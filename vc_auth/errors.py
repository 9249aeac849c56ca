"""Everything that goes wrong here has one of two audiences.

::

    VCAuthError
    +-- Denied                     a client is told; `status`, `error` and `message` are published API
    |   +-- Unauthorized           401
    |   |   +-- MissingKey             no Authorization line
    |   |   +-- MalformedHeader        not exactly one `Bearer` and one token
    |   |   `-- InvalidKey             not a key of ours, unknown, expired, revoked, or its project is suspended
    |   +-- Forbidden              403: another project's key, a client address that is not allowed
    |   |   `-- InsufficientScope      the route needs a scope that the key lacks
    |   +-- RateLimited            429: carries the decision
    |   `-- Unavailable            503: the key could not be verified
    `-- Fault                      an operator is told
        +-- SettingsError              every problem of the settings at once (a ValueError)
        +-- InvalidInput               a name, scope, network or time that cannot be (a ValueError)
        +-- NotFound                   no such project or key (a LookupError)
        +-- Conflict                   taken already, rotated already, still alive
        `-- BackendError               a store or limiter that did not answer, or too late
            +-- StoreError                 a store that cannot answer, however long one waits
            `-- LimiterError               a limiter that cannot

A `Denied` may be raised anywhere below the middleware, also in a route, and leaves as its documented bytes.
"""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from vc_auth.rates import Decision
from vc_auth.records import is_scope


class VCAuthError(Exception):
    """The root."""


class Denied(VCAuthError):
    """A request that is refused. Raise a subclass; its words go to the client, nothing else does."""

    status: ClassVar[int]
    error: ClassVar[str]
    message: ClassVar[str]


class Unauthorized(Denied):
    """401 (RFC 9110, 15.5.2): the request presents no key that we know."""

    status = 401
    code: ClassVar[str | None] = None
    """The error code in the challenge (RFC 6750, 3.1); none for a request that did not try."""


class MissingKey(Unauthorized):
    """The request has no Authorization line."""

    error = "Missing API key"
    message = "Authorization header is required"


class MalformedHeader(Unauthorized):
    """Several Authorization lines, or one that is not ``Bearer`` and one token (RFC 6750, 2.1)."""

    error = "Invalid authorization format"
    code = "invalid_request"
    message = "Authorization header must be in format: Bearer YOUR_API_KEY"


class InvalidKey(Unauthorized):
    """The token is not a living key of a project that is not suspended. Which of these it is, nobody outside learns."""

    error = "Invalid API key"
    code = "invalid_token"
    message = "The provided API key is invalid or has been revoked"


class Forbidden(Denied):
    """403: the key is good, and this request is not for it."""

    status = 403
    error = "Forbidden"
    message = "API key doesn't have permission for this request"


class InsufficientScope(Forbidden):
    """403 with the scopes that the route needs in its challenge (RFC 6750, 3.1).

    Raises ValueError for what is no scope (RFC 6749, 3.3), and so could stand in no challenge.
    """

    def __init__(self, scopes: Iterable[str]) -> None:
        self.scopes = tuple(scopes)
        for scope in self.scopes:
            if not is_scope(scope):
                raise ValueError(f"{scope!r} is no scope; write one like 'cache:read'")
        super().__init__(self.scopes)


class RateLimited(Denied):
    """429 (RFC 6585, 4): the bucket is empty; ``decision.retry_after`` says for how many seconds."""

    status = 429
    error = "Rate limit exceeded"
    message = "You have exceeded your rate limit. Please try again later."

    def __init__(self, decision: Decision, plan: str) -> None:
        self.decision = decision
        self.plan = plan
        super().__init__(decision, plan)


class Unavailable(Denied):
    """503: we cannot know whether the key is good, so it is neither admitted nor called bad."""

    status = 503
    error = "Service unavailable"
    message = "The API key could not be verified. Please try again later."


class Fault(VCAuthError):
    """Something for an operator to mend."""


class Problem(NamedTuple):
    """One mistake in the settings: the setting's name, what is wrong, and what would be right."""

    setting: str
    wrong: str
    hint: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.wrong}; {self.hint}"


class SettingsError(Fault, ValueError):
    """Every problem of the settings at once, one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(("these settings cannot work:", *(f"  {problem}" for problem in self.problems))))

    def __reduce__(self) -> tuple[type["SettingsError"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class InvalidInput(Fault, ValueError):
    """What was asked for cannot be; nothing was written."""


class NotFound(Fault, LookupError):
    """No project or key of that id or name."""


class Conflict(Fault):
    """What was asked for contradicts what is; nothing was written."""


class BackendError(Fault):
    """A store or limiter that failed or was too slow. Whether it did what was asked is unknown."""


class StoreError(BackendError):
    """A store that cannot be used until somebody mends it: no such folder, no permission, another program's database.

    At the start it is a reason not to start; any other BackendError may pass.
    """


class LimiterError(BackendError):
    """A limiter that cannot be used until somebody mends it: a wrong password, a server that is too old.

    At the start it is a reason not to start; any other BackendError may pass.
    """
