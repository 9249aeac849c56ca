"""The clients under the storages of `limits`: asked in time, and once."""

import asyncio
import gc
from collections.abc import Iterator

import pytest
from redis_servers import RedisServer
from window_keepers import PATIENT, SIX, STRATEGIES, Sick, Watching, clients, keeper_of, never, raising, until

from vc_auth.limiters.remote import Lost, Unasked
from vc_auth.limiters.windows import WindowKeeper, storage

SHORT = 0.05  # seconds


@pytest.fixture
def frozen() -> Iterator[RedisServer]:
    """A server that the test freezes, and thaws."""
    with RedisServer() as server:
        yield server


def under_way(keeper: WindowKeeper) -> int:
    return len(keeper._errands.thing._out)


async def nothing() -> int:
    return 0


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_frozen_server_is_waited_for_no_longer_than_a_check_may_take(
    frozen: RedisServer, strategy: str
) -> None:
    watching = Watching()
    async with keeper_of(f"limits+{frozen.url}", strategy, deadline=SHORT, watching=watching) as keeper:
        await keeper.check()
        frozen.freeze()
        begin = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(keeper.hit("family", SIX) for _ in range(3)), return_exceptions=True)
        assert asyncio.get_running_loop().time() - begin < 20 * SHORT
        assert [str(answer) for answer in answers] == [f"no reply from limits+{frozen.url} within 50 ms"] * 3
        assert [type(answer) for answer in answers] == [Lost] * 3
        assert (watching.answers, len(watching.errors)) == (0, 3)
        frozen.thaw()
    async with keeper_of(f"limits+{frozen.url}", strategy) as keeper:
        assert (await keeper.peek("family", SIX)).remaining in range(6 - 3 - 1, 6)  # sent once at most


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_nothing_is_sent_again_by_its_client(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        host, port = writer.get_extra_info("sockname")
        slots = f"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n{host}\r\n:{port}\r\n$3\r\none\r\n"
        replies = ((b"SETINFO", b"+OK\r\n"), (b"SLOTS", slots.encode()), (b"COMMAND\r\n", b"*0\r\n"))
        while words := await reader.read(65_536):
            sent += words.count(b"EVALSHA")
            for word, reply in replies:
                writer.write(reply * words.count(word))
        writer.close()

    monkeypatch.setattr("vc_auth.limiters.clients.ANSWERING", 10 * SHORT)
    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        url = f"limits+{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with keeper_of(url, "moving-window", deadline=SHORT) as keeper:
            with pytest.raises(Lost, match="does not answer: Timeout"):
                await keeper.check()
    assert sent == 1


@pytest.mark.parametrize("connected", [True, False])
async def test_a_server_is_waited_for_as_long_as_a_check_may_take(
    frozen: RedisServer, connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vc_auth.limiters.clients.ANSWERING", SHORT)
    watching = Watching()
    async with keeper_of(f"limits+{frozen.url}", "moving-window", watching=watching) as keeper:
        if connected:
            await keeper.check()
        frozen.freeze()
        asyncio.get_running_loop().call_later(4 * SHORT, frozen.thaw)
        assert (await keeper.hit("family", SIX)).remaining == 5
    assert (watching.answers, watching.errors) == (1, [])


async def test_a_check_that_is_given_up_disturbs_none_that_follow(frozen: RedisServer) -> None:
    async with keeper_of(f"limits+{frozen.url}", "sliding-window-counter", deadline=PATIENT) as keeper:
        await asyncio.gather(*(keeper.hit(f"family {number}", SIX, 6) for number in range(10)))
        frozen.freeze()
        gone = [asyncio.create_task(keeper.hit(f"family {number}", SIX)) for number in range(10)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        assert [type(answer) for answer in await asyncio.gather(*gone, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 10
        frozen.thaw()
        others = await asyncio.gather(*(keeper.hit(f"other {number}", SIX, 1 + number % 6) for number in range(40)))
        assert [other.remaining for other in others] == [5 - number % 6 for number in range(40)]


async def test_a_server_that_takes_long_to_connect_to_is_connected_to_all_the_same(frozen: RedisServer) -> None:
    async with keeper_of(f"limits+{frozen.url}", "fixed-window", deadline=SHORT) as keeper:
        frozen.freeze()
        with pytest.raises(Lost):
            await keeper.hit("family", SIX)
        assert under_way(keeper) == 1  # and goes on
        frozen.thaw()
        await until(lambda: under_way(keeper) == 0)
        assert clients(frozen) == 1


async def test_more_checks_than_connections_wait_for_their_turn(redis_server: RedisServer) -> None:
    watching = Watching()
    async with keeper_of(f"limits+{redis_server.url}", "moving-window", watching=watching) as keeper:
        await asyncio.gather(*(keeper.hit(f"family {number}", SIX) for number in range(500)))
        assert (watching.answers, watching.errors) == (500, [])
        assert clients(redis_server) <= storage.AT_ONCE


async def test_whoever_gets_no_turn_in_time_was_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE", SHORT)
    watching = Watching()
    async with keeper_of("limits+sick://", "fixed-window", deadline=SHORT, watching=watching) as keeper:
        Sick.says(nothing, monkeypatch)
        await keeper.hit("family", SIX)
        Sick.says(never, monkeypatch)
        hits = (keeper.hit("family", SIX) for _ in range(storage.AT_ONCE + 1))
        *lost, last = await asyncio.gather(*hits, return_exceptions=True)
        assert {type(answer) for answer in lost} == {Lost}
        assert type(last) is Unasked
        assert str(last) == "limits+sick:// was too busy to be asked within 50 ms"
        assert len(watching.errors) == storage.AT_ONCE + 1
        await until(lambda: under_way(keeper) == 0)  # what its client never gives up is cancelled
        Sick.says(raising(OSError("gone")), monkeypatch)
        with pytest.raises(Lost, match="gone"):
            await keeper.hit("family", SIX)


async def test_the_first_check_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = 0
    go_on = asyncio.Event()

    async def told() -> int:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return 0

    Sick.says(told, monkeypatch)
    async with keeper_of("limits+sick://", "fixed-window") as keeper:
        hits = [asyncio.create_task(keeper.hit(f"family {number}", SIX)) for number in range(5)]
        await until(lambda: begun == 1)
        assert under_way(keeper) == 1
        Sick.says(raising(OSError("gone")), monkeypatch)
        go_on.set()
        assert {type(answer) for answer in await asyncio.gather(*hits, return_exceptions=True)} == {Lost}
        begun = 0
        go_on.clear()
        Sick.says(told, monkeypatch)
        hits = [asyncio.create_task(keeper.hit(f"family {number}", SIX)) for number in range(5)]
        await until(lambda: begun == 1)
        assert under_way(keeper) == 1  # none has been of use so far
        go_on.set()
        assert all(answer.allowed for answer in await asyncio.gather(*hits))
        assert begun > 5


def test_nobody_hears_of_the_error_of_a_check_that_was_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        late = asyncio.Event()

        async def told() -> int:
            await late.wait()
            raise OSError("gone")

        Sick.says(nothing, monkeypatch)
        async with keeper_of("limits+sick://", "fixed-window", deadline=SHORT) as keeper:
            await keeper.hit("family", SIX)
            Sick.says(told, monkeypatch)
            with pytest.raises(Lost, match="within 50 ms"):
                await keeper.hit("family", SIX)
            late.set()
            await until(lambda: under_way(keeper) == 0)

    asyncio.run(story())
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_closing_waits_for_what_is_under_way_and_then_cancels_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE", SHORT)
    Sick.says(never, monkeypatch)
    keeper = WindowKeeper("limits+sick://", "fixed-window", PATIENT)
    await keeper.bind(Watching())
    hit = asyncio.create_task(keeper.hit("family", SIX))
    await asyncio.sleep(0)
    await keeper.aclose()
    with pytest.raises(asyncio.CancelledError):
        await hit
    with pytest.raises(Unasked, match="closed"):
        await keeper.peek("family", SIX)
