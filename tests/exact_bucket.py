"""A token bucket as the textbook has it, to hold all others against."""

from fractions import Fraction

from vc_auth.rates import Rate


class ExactBucket:
    """In fractions of a token; tokens arrive one an emission interval."""

    def __init__(self, now: int, rate: Rate) -> None:
        self.tokens, self.at, self.rate = Fraction(rate.burst), now, rate

    def hit(self, now: int, rate: Rate, cost: int) -> tuple[bool, int, int]:
        """Whether it passes, what remains, and the microseconds to wait."""
        self.tokens += Fraction(now - self.at, self.rate.emission_us)
        self.tokens, self.at = min(self.tokens, Fraction(self.rate.burst)), now
        spent = self.rate.burst - self.tokens
        if rate.emission_us != self.rate.emission_us:
            spent = Fraction(-(-spent // 1))
        self.tokens, self.rate = max(rate.burst - spent, Fraction(0)), rate
        if self.tokens >= cost:
            self.tokens -= cost
            return True, int(self.tokens), 0
        return False, int(self.tokens), -int(-(cost - self.tokens) * rate.emission_us // 1)
