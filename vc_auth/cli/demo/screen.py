"""What the tour looks like. All of it works without a terminal, too, and in one that only knows ASCII."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import responses
from typing import Final

import uvicorn
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from vc_auth.cli.console import shown
from vc_auth.cli.demo.beside import Command, Counted, Refusals
from vc_auth.cli.demo.bucket import BURST, Bucket
from vc_auth.cli.demo.checks import Played
from vc_auth.cli.demo.story import ANOTHER_CONVERSATION, Deed, Step
from vc_auth.cli.demo.wire import Answer, Exchange, Request
from vc_auth.keys import Secret
from vc_auth.masking import masked

INDENT: Final = 4
PACE: Final = 0.3  # seconds before a scene, in a terminal alone, where somebody reads along
DRIP: Final = 0.01  # seconds between the requests of a burst, there as well

_unbroken = re.compile(r"[^ ,]+[ ,]*")
_as_json: Final = JSONHighlighter()


class Screen:
    """Writes on ``console``: requests as they go out, answers as they came, and whether they were right."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._right, self._wrong = ("ok", "XX") if console.options.ascii_only else (" ✓", " ✗")

    def welcome(self, url: str, workers: int = 1, redis: str | None = None) -> None:
        """Before the first scene. ``redis`` is shown without its password."""
        self._console.print(
            Text.assemble(("vc-auth demo", "bold"), "  on ", (url, "cyan"), f"  (uvicorn {uvicorn.__version__})")
        )
        lines = [
            "Keys in a new SQLite file. One project, acme, on the free plan: 100 requests at once, then one a second."
        ]
        if redis is not None:
            where = shown(masked(redis, redis))
            several = f"{workers} workers, their buckets on {where}; one of them is asked, unless it says which."
            lines.append(several if workers > 1 else f"Buckets on {where}.")
        elif workers > 1:
            lines.append(
                f"{workers} workers, each with buckets of its own in memory; one of them is asked, unless it says all."
            )
        for line in lines:
            self._console.print(Text(line), style="dim")

    def tell(self, deed: Deed) -> None:
        """Something that was done in Python."""
        self._pause(PACE)
        self._console.print()
        for line in deed.code:
            self._line(Text.assemble((">>> ", "magenta"), line))
        if deed.secret is not None:
            self._line(Text.assemble((deed.secret.reveal(), "bold yellow"), ("  shown this once", "dim")))

    def announce(self, number: int, title: str) -> None:
        """What comes next."""
        self._pause(PACE)
        self._console.print()
        self._console.print(Text.assemble((f"{number:2}", "dim"), "  ", (title, "bold")))

    def ask(self, request: Request) -> None:
        """A step's request."""
        self._line(Text.assemble((request.method, "cyan"), " ", request.path))
        if request.authorization is not None:
            self._header("authorization", request.authorization)
        if request.body:
            self._line(_as_json(Text(request.body)))

    def refusals(self, refusals: Refusals, *, late: bool) -> None:
        """A command that revoked a key, and how soon each worker refused it."""
        self._command(refusals.command)
        for number, after in enumerate(refusals.after, 1):
            mark, style = (self._wrong, "bold red") if late else (self._right, "bold green")
            words = "still lets it in" if after is None else f"401 Unauthorized after {after:.0f} ms"
            who = f"worker {number}: " if len(refusals.after) > 1 else ""
            self._console.print(Text.assemble((mark, style), "  ", who, (words, "bold yellow")))
        self._line(Text(f"asked {len(refusals.exchanges)} times meanwhile", "dim"))

    def counted(self, counted: Counted, sent: tuple[int, ...]) -> None:
        """A command that told the usage, and whether it is what was sent."""
        self._command(counted.command)
        if counted.sums == sent:
            words = f"{sent[0]} admitted and {sent[1]} rate-limited requests are what the tour has sent"
            self._console.print(Text.assemble((self._right, "bold green"), "  ", words))
        else:
            self._console.print(Text.assemble((self._wrong, "bold red"), f"  {sent} were sent, {counted.sums} counted"))

    @contextmanager
    def watching(self, step: Step) -> Iterator[Callable[[Answer], object]]:
        """What to call with each answer. In a terminal, it lets watch how the tokens of a burst run out."""
        if not step.until_refused:
            yield lambda _: None
            return
        left = TextColumn("{task.completed:.0f} left", style="dim")
        columns = (" " * (INDENT - 1), BarColumn(complete_style="green"), left)
        disable = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=disable) as progress:
            bar = progress.add_task("", total=BURST, completed=BURST)

            def drain(answer: Answer) -> None:
                progress.update(bar, completed=_remaining(answer))
                self._pause(DRIP)

            yield drain

    def answer(self, played: Played) -> None:
        """What came back for a step, and whether it was right."""
        *earlier, (worker, last) = played.by_worker()
        step, before, after = played.step, "", ""
        if step.until_refused:
            self._burst(played, earlier)
        else:
            for other, exchange in earlier:
                self._status(exchange, step.shows, before=f"worker {other}: ")
        if step.until_refused and len(step.at) > 1 and not played.wrong:
            after = ", from every worker"
        elif step.at != (0,):
            before = f"worker {worker}: "
        self._status(last, step.shows, before=before, after=after, wrong=bool(played.wrong))
        self._line(_as_json(Text(last.answer.body)))
        for difference in played.wrong:
            self._line(Text(difference, "red"))

    def sum_up(self, right: int, answers: int, seconds: float) -> None:
        """After the last scene."""
        style = "bold green" if right == answers else "bold red"
        self._console.print()
        self._console.print(f"{right} of {answers} answers as documented in {seconds:.2f} s", style=style)

    def invite(self, url: str, key: Secret) -> None:
        """How to go on by hand. The lines stand there whole, so that they can be pasted into a shell."""
        authorization = f"-H 'Authorization: Bearer {key.reveal()}'"
        many = "curl -s -o /dev/null -w '%{http_code}\\n'"
        lines = (
            f"curl -i {url}/health",
            f"curl -i {url}/api/v1/usage",
            f"curl -i {url}/api/v1/usage \\\n  {authorization}",
            f"curl -i {url}/api/v1/check \\\n  {authorization} \\\n  -d '{ANOTHER_CONVERSATION}'",
            f"{many} \\\n  {authorization} \\\n  '{url}/api/v1/usage?[1-120]' | sort | uniq -c",
        )
        self._console.print("\nIt stays up, with a key of its own for you. Try:", style="bold")
        for line in lines:
            self._console.print()
            self._console.print(Text(line), soft_wrap=True)
        self._console.print("\nCtrl+C ends it.", style="dim")

    # -- pieces --------------------------------------------------------------------------------------------------------

    def _command(self, command: Command) -> None:
        self._line(Text.assemble(("$ ", "magenta"), "vc-auth ", " ".join(command.words)))
        for line in command.output.split("\n"):
            self._line(Text(line))

    def _status(
        self, exchange: Exchange, shows: tuple[str, ...], *, before: str = "", after: str = "", wrong: bool = False
    ) -> None:
        mark, style = (self._wrong, "bold red") if wrong else (self._right, "bold green")
        status = exchange.answer.status
        colour = "green" if status == 200 else "yellow"
        words = f"{status} {responses.get(status, '')}" if status else "no answer"
        took = Text(f"  {(exchange.received.monotonic - exchange.sent.monotonic) / 1_000:.1f} ms", "dim")
        self._console.print(Text.assemble((mark, style), "  ", before, (words, f"bold {colour}"), after, took))
        for name, value in _in_order(exchange, shows):
            self._header(name, value)

    def _burst(self, played: Played, earlier: list[tuple[int, Exchange]]) -> None:
        admitted = [(worker, exchange) for worker, exchange in earlier if exchange.answer.status != 429]
        if not admitted:
            return
        (_, first), (_, last) = admitted[0], admitted[-1]
        took = Text(f"  {(last.received.monotonic - first.sent.monotonic) / 1_000_000:.2f} s", "dim")
        words = f"{len(admitted)} times 200 OK"
        self._console.print(Text.assemble((self._right, "bold green"), "  ", (words, "bold green"), took))
        if len(played.step.at) > 1:
            counts = Counter(worker for worker, _ in admitted)
            self._line(Text(", ".join(f"{count} at worker {worker}" for worker, count in counts.items())))
        self._line(Text(f"r={_remaining(first.answer)} down to r={_remaining(last.answer)}"))
        if played.step.bucket is not None and not played.wrong:
            self._reckoning(len(admitted), played.step.bucket)

    def _reckoning(self, now: int, bucket: Bucket) -> None:
        before, back = bucket.spent - now, bucket.spent - BURST
        self._line(Text(f"{before} before + {now} now = {BURST} at once + {back} that came back meanwhile"))

    def _header(self, name: str, value: str) -> None:
        self._line(Text.assemble((f"{name}: ", "dim"), value))

    def _line(self, text: Text) -> None:
        """One line, or several where it is too long; each is indented, and broken after a comma or a space."""
        width, start, breaks = self._console.width - INDENT, 0, list[int]()
        for match in _unbroken.finditer(text.plain):
            if match.end() - start > width and match.start() > start:
                start = match.start()
                breaks.append(start)
        for line in text.divide(breaks):
            line.rstrip()
            self._console.print(Text(" " * INDENT) + line, overflow="fold")

    def _pause(self, seconds: float) -> None:
        if self._console.is_terminal:
            time.sleep(seconds)


def _in_order(exchange: Exchange, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        for other, value in exchange.answer.headers:
            if other == name:
                yield name, value


def _remaining(answer: Answer) -> int:
    """What the answer says is left; 0 if it does not say."""
    said = dict(answer.headers).get("x-ratelimit-remaining", "")
    return int(said) if said.isdecimal() else 0
