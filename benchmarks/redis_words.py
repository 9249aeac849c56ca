"""What the page on Redis says of how it was measured, and of whom."""

from typing import Final

INTRODUCTION: Final = """\
One Redis for all, started for this and keeping nothing on disk. Contenders take turns of some tenths of a second, in an
order that is shuffled every round, and each ratio is of turns of the same round. Every check learns all that the limit
headers say. Client and server share the machine: its cores bound what all of them can do. *client* and *Redis* are
processor time per check, of this process and of the server; *commands* per check include those inside scripts; *round
trips* are how often the server found something to read. Trust the ratios: the other figures are those of one machine
on one day."""

OPEN_WORDS: Final = """\
Arrivals at random, at most {most} of them in flight. A latency counts from the scheduled arrival. After twice the time
that it should take, what has not begun is given up, and counts as what it has waited by then. *client* includes the
looking at the clock that lets arrivals come in time."""

SERVED_WORDS: Final = """\
One worker, uvloop and httptools; 64 connections from another process, each with one request after another, 1,000 keys.
Every answer is a 200 from the same Starlette application. The load generator's process and Redis share what the worker
leaves of the machine. *of the bare app*: its requests a second, as the share of the bare app's in the same round."""

LEGEND: Final = """\
* *vc_auth*: the limiter of `Settings(limiter="redis://...")`, all else by default. It gathers the checks of all callers
  into flights, and answers a refusal from memory for as long as the bucket cannot hold a whole token.
* *one EVALSHA per check*: the same script with the same decisions, one bucket per call, on redis-py's own pool.
* *throttled-py*: `throttled.asyncio.Throttled` with its token bucket on its `RedisStore`.
* *limits*: `hit`, and `get_window_stats` for the headers, on `async+redis://` with `implementation="redispy"`.
* Each of the others has up to 1,024 connections (redis-py's default of 100 raises when they are taken), RESP 2, and no
  socket timeout, which is quicker than redis-py's defaults. Ours keeps 8, and up to 26 while replies are overdue.
* Under uvicorn, *vc_auth* is the middleware with all that it does by default: keys by their digest, projects, usage,
  both families of limit headers. *Starlette auth* is its `AuthenticationMiddleware` with a dictionary of plain keys,
  and behind it the limiter with three headers.
* Before anything is measured, each contender has to admit exactly the burst of a fresh bucket, and to say what it took
  of another; each guarded server has to admit a key, with a limit header, and no stranger. A turn in which a generous
  bucket refuses, or an exhausted one admits, ends the run, and so does an answer other than 200."""
