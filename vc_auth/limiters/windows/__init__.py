"""Windows in place of buckets: any strategy of `limits` on any of its storages.

So many requests in a window of the rate's period, and no burst: "Rate limiting strategies" in the documentation of
`limits` says what each strategy means by that. ``memory://`` lasts as long as the event loop that uses it. `limits`
takes the time of a moving window, and of all that is in memory or memcached, from the machine that asks: their clocks
have to agree.
"""

from vc_auth.limiters.windows.keeper import WindowKeeper

__all__ = ["WindowKeeper"]
