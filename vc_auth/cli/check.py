"""``vc-auth check``."""

import sys
from typing import Any, NamedTuple

import click

from vc_auth import VCAuth
from vc_auth.cli.asking import is_answered
from vc_auth.cli.console import put_facts, put_json
from vc_auth.cli.key_views import KeyView, as_json, facts
from vc_auth.cli.lookup import find_project, view_key
from vc_auth.cli.session import Misused, Refused, Session, on_a_store
from vc_auth.errors import Denied, Forbidden, InvalidKey, MalformedHeader, RateLimited, Unauthorized, Unavailable
from vc_auth.keys import LONGEST_VALUE, Headers, KeyFormat, Secret
from vc_auth.limiters import MemoryLimiter
from vc_auth.rates import Decision
from vc_auth.stores import HasLifetime


class Verdict(NamedTuple):
    """What a request with the key would be answered now, and why. ``view`` is None if there is no such key."""

    denied: Denied | None
    why: str
    view: KeyView | None
    bucket: str

    @property
    def answer(self) -> str:
        """A line for people."""
        return "admitted" if self.denied is None else f"{self.denied.status} {self.denied.error}: {self.why}"


@click.command(context_settings={"allow_extra_args": True})  # click would repeat them
@click.option("--address", metavar="IP", help="The client's address, for a key that works only from some networks.")
@click.option("--project", metavar="PROJECT", help="The project that the request is for.")
@on_a_store
def check(session: Session, address: str | None, project: str | None) -> None:
    """Say whose a key is, and whether a request with it would be admitted now. It takes no token, and is not counted.

    \b
    printenv KEY | vc-auth check
    vc-auth check                 asks for the key, and shows nothing of it

    The key comes from stdin, never from an argument, which everybody on the machine could read. Exit code 1 if the
    request would be refused.
    """  # noqa: D301  # the backspace is click's sign for lines that stay as they are
    if click.get_current_context().args:
        raise click.UsageError(
            "Give the key on stdin, as in `printenv KEY | vc-auth check`; an argument may stay in the shell's history."
        )
    secret = _read_key()
    verdict = session.run(lambda auth: _judge(auth, secret, address, project), with_limits=True)
    if session.as_json:
        put_json(_as_json(verdict))
    elif verdict.view is None:
        raise Refused(verdict.answer)
    else:
        put_facts([*facts(verdict.view), ("bucket", verdict.bucket), ("answer", verdict.answer)])
    if verdict.denied is not None:
        sys.exit(1)


def _read_key() -> Secret:
    """One line of stdin, or what somebody types unseen."""
    if is_answered():
        line = click.prompt("Key", hide_input=True, err=True)
    elif sys.stdin is None or not (read := sys.stdin.buffer.readline(LONGEST_VALUE)):
        raise Misused("stdin is empty; give the key there, as in `printenv KEY | vc-auth check`")
    else:
        line = read.decode("ascii", "replace")  # what is not ASCII is no key, whatever it means
    return Secret(line.rstrip("\r\n"), "the key")


async def _judge(auth: VCAuth, secret: Secret, address: str | None, project: str | None) -> Verdict:
    addressed = (await find_project(auth, project)).id if project is not None else None
    presented = KeyFormat(auth.settings.key_prefixes).parse_authorization(_headers(secret))
    if isinstance(presented, Unauthorized):
        return Verdict(presented, _misshapen(presented), None, _bucket(auth, None))
    record = await auth.source.find(presented)  # not behind the cache, whose errors are for requests
    if record is None:
        return Verdict(InvalidKey(), "there is no such key", None, _bucket(auth, None))
    view = await view_key(auth, record.id)
    limiter: object = auth.limiter
    if isinstance(limiter, HasLifetime):
        await limiter.open()  # to hear what is wrong with it
    try:
        grant = await auth.rehearsal.admit(_headers(secret), address, addressed)
    except Denied as denied:
        decision = denied.decision if isinstance(denied, RateLimited) else None
        return Verdict(denied, _why(denied, view, address, addressed), view, _bucket(auth, decision))
    return Verdict(None, "", view, _bucket(auth, grant.decision))


def _headers(secret: Secret) -> Headers:
    return [(b"authorization", b"Bearer " + secret.reveal().encode("utf-8", "replace"))]


def _misshapen(denied: Unauthorized) -> str:
    if isinstance(denied, MalformedHeader):
        return "this is not one word, or too long"
    return "this has not the form of a key: one of the prefixes in the settings, and 32 of 0-9 and a-f"


def _why(denied: Denied, view: KeyView, address: str | None, addressed: str | None) -> str:
    """What the client is not told."""
    if denied.__cause__ is not None:  # the limiter failed
        return str(denied.__cause__) or repr(denied.__cause__)
    record = view.record
    if isinstance(denied, RateLimited):
        return f"its bucket holds too little for {denied.decision.retry_after} s more"
    if isinstance(denied, Unavailable):
        return f"plan {record.project.plan!r} is not in the settings"
    if not isinstance(denied, Forbidden):
        return f"the key is {view.status}"
    if addressed not in (None, record.project.id):
        return f"the key is of project {record.project.name!r}"
    return f"the key does not work from {address or 'nowhere; say from where with --address'}"


def _bucket(auth: VCAuth, decision: Decision | None) -> str:
    if auth.limiter is None:
        return "no limits"
    if isinstance(auth.limiter, MemoryLimiter):
        return "kept in the memory of each server, so not known here"
    if trouble := getattr(auth.limiter, "trouble", None):
        return f"not known: {trouble}"
    if decision is None:
        return "-"
    before = decision.remaining + (auth.settings.cost if decision.allowed else 0)
    return f"{before} of {decision.limit} left"


def _as_json(verdict: Verdict) -> dict[str, Any]:
    denied, view = verdict.denied, verdict.view
    return {
        "admitted": denied is None,
        "status": None if denied is None else denied.status,
        "error": None if denied is None else denied.error,
        "why": verdict.why or None,
        "bucket": verdict.bucket,
        "key": None if view is None else as_json(view),
    }
