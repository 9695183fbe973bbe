"""Batches: what belongs together comes together, in order, bounded, and nothing of it is lost."""

import asyncio

import pytest

from bridges.irc import batches as module
from bridges.irc.batches import CHARACTERS_AT_MOST, LINES_AT_MOST, OPEN_AT_MOST, Batch, Batches
from bridges.irc.codec.message import parse


class Gathered:
    """The batches of a connection; `single` are lines that were nobody's."""

    def __init__(self, *kinds: str) -> None:
        self.batches = Batches()
        self.whole: list[Batch] = []
        self.single: list[str] = []
        for kind in kinds:
            self.batches.on(kind, self.whole.append)

    def hears(self, *lines: str) -> None:
        """Lines as a session gives them on."""
        for raw in lines:
            line = parse(raw.encode())
            if "batch" in line.tags and self.batches.take(line):
                continue
            if line.command == "BATCH":
                self.batches.received(line)
            else:
                self.single.append(line.param(-1))

    def texts(self) -> list[list[str]]:
        """The last parameters of each batch's lines."""
        return [[line.param(-1) for line in batch.lines()] for batch in self.whole]


async def test_a_batch_is_told_once_at_its_end_with_what_its_opening_said() -> None:
    """Type, parameters, tags and source are those of the opening line; other lines pass between."""
    heard = Gathered("netsplit")
    heard.hears(
        "@time=2026-01-01T00:00:00.000Z :irc.host BATCH +y netsplit irc.hub other.host",
        "@batch=y :aji!a@a QUIT :irc.hub other.host",
        ":nick!user@host PRIVMSG #c :between",
        "@batch=y :jilles!a@a QUIT :irc.hub other.host",
    )
    assert heard.whole == [] and heard.single == ["between"]
    heard.hears(":irc.host BATCH -y", ":irc.host BATCH -y")
    (batch,) = heard.whole
    assert (batch.type, batch.params, batch.param(1), batch.param(2)) == (
        "netsplit",
        ("irc.hub", "other.host"),
        "other.host",
        "",
    )
    assert batch.tags["time"].startswith("2026") and batch.source is not None and batch.source.nick == "irc.host"
    assert [line.source.nick for line in batch.lines() if line.source] == ["aji", "jilles"]
    assert batch.last and batch.part == 0


async def test_batches_within_batches_keep_their_places() -> None:
    """An inner batch stands among the lines of the outer one, and is told with it; interleaved ones are kept apart."""
    heard = Gathered("outer", "other")
    heard.hears(
        ":s BATCH +1 outer",
        ":s BATCH +2 other",
        "@batch=1 :a!u@h PRIVMSG #c :first",
        "@batch=1 :s BATCH +3 inner #c",
        "@batch=2 :a!u@h PRIVMSG #c :elsewhere",
        "@batch=3 :a!u@h PRIVMSG #c :second",
        "@batch=1 :s BATCH -3",
        "@batch=1 :a!u@h PRIVMSG #c :third",
        ":s BATCH -2",
        ":s BATCH -1",
    )
    assert heard.texts() == [["elsewhere"], ["first", "second", "third"]]
    inner = heard.whole[1].items[1]
    assert isinstance(inner, Batch) and inner.type == "inner" and inner.params == ("#c",)


async def test_unknown_types_pass_line_by_line() -> None:
    """A batch that nobody handles makes no difference; a handled one within it is gathered."""
    heard = Gathered("inner")
    heard.hears(
        ":s BATCH +1 example.org/new",
        "@batch=1 :a!u@h PRIVMSG #c :alone",
        "@batch=1 :s BATCH +2 inner",
        "@batch=2 :a!u@h PRIVMSG #c :within",
        "@batch=1 :s BATCH -2",
        ":s BATCH -1",
    )
    assert heard.single == ["alone"] and heard.texts() == [["within"]]


@pytest.mark.parametrize(("text", "count"), [("x", LINES_AT_MOST * 2 + 3), ("y" * 8000, 200)])
async def test_a_batch_larger_than_allowed_comes_in_parts(text: str, count: int) -> None:
    """By lines or by characters: every line arrives once, in order, in numbered parts of which one is the last."""
    heard = Gathered("netsplit")
    heard.hears(":s BATCH +1 netsplit a b", "@batch=1 :s BATCH +2 inner")
    heard.hears(*(f"@batch=2 :a!u@h QUIT :{number} {text}" for number in range(count)))
    heard.hears("@batch=1 :s BATCH -2", ":s BATCH -1")
    assert [word.partition(" ")[0] for texts in heard.texts() for word in texts] == [str(n) for n in range(count)]
    assert [batch.part for batch in heard.whole] == list(range(len(heard.whole))) and len(heard.whole) > 1
    assert [batch.last for batch in heard.whole] == [False] * (len(heard.whole) - 1) + [True]
    assert all(sum(len(line.param(-1)) for line in batch.lines()) <= CHARACTERS_AT_MOST for batch in heard.whole)


async def test_no_more_batches_are_open_than_allowed() -> None:
    """Lines of a batch too many are not lost: they pass by themselves."""
    heard = Gathered("netjoin")
    heard.hears(*(f":s BATCH +{number} netjoin" for number in range(OPEN_AT_MOST + 1)))
    heard.hears(f"@batch={OPEN_AT_MOST} :a!u@h PRIVMSG #c :too many", "@batch=0 :a!u@h PRIVMSG #c :kept")
    heard.hears(f":s BATCH -{OPEN_AT_MOST}", ":s BATCH -0")
    assert heard.single == ["too many"] and heard.texts() == [["kept"]]


async def test_what_came_of_a_batch_outlives_the_connection() -> None:
    """Where the end of a batch does not come since the connection broke, its lines are told, marked unfinished."""
    heard = Gathered("outer")
    heard.hears(":s BATCH +1 outer", "@batch=1 :s BATCH +2 inner", "@batch=2 :a!u@h PRIVMSG #c :last words")
    heard.batches.closed()
    assert heard.texts() == [["last words"]] and not heard.whole[0].last
    heard.hears("@batch=2 :a!u@h PRIVMSG #c :later")
    assert heard.single == ["later"]


async def test_a_batch_without_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never ends a batch hides none of its lines."""
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    heard = Gathered("outer")
    told = asyncio.Event()
    heard.batches.on("outer", lambda batch: (heard.whole.append(batch), told.set())[0])
    heard.hears(":s BATCH +1 outer", "@batch=1 :a!u@h PRIVMSG #c :held")
    async with asyncio.timeout(60):
        await told.wait()
    heard.hears("@batch=1 :a!u@h PRIVMSG #c :late", ":s BATCH -1")
    assert heard.texts() == [["held"]] and heard.single == ["late"] and not heard.whole[0].last


async def test_nonsense_opens_nothing() -> None:
    """Names used twice, ends of nothing, batches without name or type: no batch, and no error."""
    heard = Gathered("outer")
    heard.hears(
        ":s BATCH", ":s BATCH +", ":s BATCH -", ":s BATCH +1", ":s BATCH -9", ":s BATCH 1 outer", "@batch=1 :s PING :x"
    )
    heard.hears(":s BATCH +1 outer", "@batch=1 :s BATCH +1 outer", "@batch=1 :s BATCH -1")
    assert heard.single == ["x"] and heard.texts() == [[]]
