"""What the dashboard, the API and the command line are told."""

from contextlib import closing

import pytest
from sqlalchemy import text

from controller.errors import LedgerError
from controller.facts.decisions import Because, Memory, Outcome, OutcomeKind
from controller.facts.fleet import CapacityType
from controller.facts.passes import Gap
from controller.facts.readings import Counter
from controller.ledger.engine import reader_engine, shown
from controller.ledger.read import LedgerReader
from controller.ledger.write import Ledger


def test_before_the_first_pass_there_is_nothing_to_tell(reader, make):
    assert reader.last_pass() is None
    assert reader.fleet_now() is None
    assert reader.last_decision("chat") is None
    assert (reader.services(), reader.variants("chat"), reader.decisions()) == ((), (), ())
    assert reader.cost(make.at(0), make.at(60), by=()) == ()


def test_fleet_now_is_the_minute_of_the_last_pass(ledger, reader, make):
    ledger.record_intent(make.record(0, estimates=make.estimates(0, usd_per_hour=4.0)))
    ledger.record_intent(make.record(75, estimates=make.estimates(75, usd_per_hour=8.0)))
    ledger.record_outcomes(make.result(75), Memory())
    now = reader.fleet_now()
    assert (now.last_pass.at, now.last_pass.duration_s, now.fleet.usd_per_hour) == (make.at(75), 0.25, 8.0)
    assert [(one.service, one.variant) for one in (*now.services, *now.variants)] == [("chat", ""), ("chat", "h100")]
    assert reader.services() == ("chat",)
    assert reader.variants("chat") == ("h100",)


def test_a_series_is_minute_by_minute_and_leaves_the_end_out(ledger, reader, make):
    for minute in range(4):
        ledger.record_intent(make.record(60 * minute, estimates=make.estimates(60 * minute, queue_depth=float(minute))))
    series = reader.service_series("chat", make.at(60), make.at(180))
    assert [(one.minute, one.queue_depth) for one in series] == [(make.at(60), 1.0), (make.at(120), 2.0)]
    assert all(one.minute.utcoffset().total_seconds() == 0 for one in series)
    assert len(reader.service_series("", make.at(0), make.at(999))) == 4
    assert len(reader.service_series("chat", make.at(0), make.at(999), variant="h100")) == 4


def test_a_change_of_engines_is_kept_and_counts_as_something_that_was_done(ledger, reader, make):
    change = make.decision(0, current=2, desired=2, because=Because.ROLLOUT, change="image vllm:2; args")
    ledger.record_intent(make.record(0, decisions=(change,)))
    assert [one.decision for one in reader.decisions("chat", moves_only=True)] == [change]
    assert reader.last_decision("chat").decision == change
    assert [one.change for one in ledger.restore().unfinished] == ["image vllm:2; args"]


def test_decisions_come_newest_first_with_numbers_victims_and_outcome(ledger, reader, make):
    grows = make.decision(0)
    holds = make.decision(15, desired=1, because=Because.STEADY, usd_per_hour_after=8.0)
    shrinks = make.decision(30, current=3, desired=1, victims=("chat-2", "chat-0"))
    other = make.decision(30, service="code", numbers={})
    failed = Outcome(
        decision_id=grows.id,
        service="chat",
        variant="h100",
        kind=OutcomeKind.FAILED,
        detail="no port free",
        at=make.at(1),
    )
    ledger.record_intent(make.record(0, decisions=(grows,)))
    ledger.record_outcomes(make.result(0, outcomes=(failed,)), Memory())
    ledger.record_intent(make.record(15, decisions=(holds,)))
    ledger.record_intent(make.record(30, decisions=(shrinks, other)))
    chat = reader.decisions("chat")
    assert [one.decision for one in chat] == [shrinks, holds, grows]
    assert [one.outcome for one in chat] == [None, None, failed]
    assert [one.decision for one in reader.decisions("chat", moves_only=True)] == [shrinks, grows]
    assert [one.decision for one in reader.decisions("chat", limit=1)] == [shrinks]
    assert [one.decision for one in reader.decisions("chat", start=make.at(15), end=make.at(30))] == [holds]
    assert len(reader.decisions()) == 4


def test_the_last_decision_is_the_one_that_moves(ledger, reader, make):
    moves = make.decision(15, id="b", variant="l4")
    holds = [make.decision(15, id=name, variant=name, desired=1) for name in ("a", "c")]
    ledger.record_intent(make.record(0, decisions=(make.decision(0),)))
    ledger.record_intent(make.record(15, decisions=(holds[0], moves, holds[1])))
    assert reader.last_decision("chat").decision == moves


def test_many_decisions_are_read_at_once(ledger, reader, make):
    made = tuple(make.decision(0, id=f"{number:04}") for number in range(1100))
    ledger.record_intent(make.record(0, decisions=made))
    read = reader.decisions(limit=2000)
    assert tuple(one.decision for one in read) == made
    assert sorted(one.id for one in ledger.restore().unfinished) == [one.id for one in made]


def test_cost_is_grouped_as_asked_and_whole_to_the_nanodollar(ledger, reader, make):
    big = 4_000_000_000_000_000_001
    uses = (
        make.use(0, 15, replica="a", cost_nanousd=big, counts={Counter.OUTPUT_TOKENS: 5.0}),
        make.use(0, 15, replica="b", cost_nanousd=2, capacity_type=CapacityType.SPOT, gpus=1),
        make.use(60, 75, replica="a", service="code", cost_nanousd=None),
    )
    ledger.record_intent(make.record(75, uses=uses))
    chat, code = reader.cost(make.at(0), make.at(120))
    assert (chat.service, chat.cost_nanousd, chat.output_tokens, chat.gpu_s) == ("chat", big + 2, 5.0, 45.0)
    assert (code.service, code.cost_nanousd, code.unpriced_s, code.output_tokens) == ("code", None, 15.0, None)
    (everything,) = reader.cost(make.at(0), make.at(120), by=())
    assert (everything.service, everything.cost_nanousd) == (None, big + 2)
    by_type = reader.cost(make.at(0), make.at(60), by=("service", "capacity_type"))
    assert [(one.capacity_type, one.cost_nanousd) for one in by_type] == [("on_demand", big), ("spot", 2)]
    assert [one.minute for one in reader.cost(make.at(0), make.at(120), by=("minute",))] == [make.at(0), make.at(60)]
    assert [one.replica for one in reader.replica_minutes(make.at(0), make.at(120), service="chat")] == ["a", "b"]


def test_a_gap_that_reaches_into_the_interval_is_told(ledger, reader, make):
    gap = Gap(start=make.at(-600), end=make.at(30), why="the daemon was not running")
    ledger.record_intent(make.record(30, gaps=(gap,)))
    assert reader.gaps(make.at(0), make.at(60)) == (gap,)
    assert reader.gaps(make.at(30), make.at(60)) == ()


def test_the_reading_side_cannot_write(url, ledger):
    engine = reader_engine(url)
    with pytest.raises(Exception, match=r"(?i)read-?only"), engine.begin() as connection:
        connection.execute(text("INSERT INTO pass_problem VALUES ('2026-03-01T12:00:00+00:00', '', 0, 'x')"))
    engine.dispose()


def test_a_ledger_that_is_not_there_is_not_made_by_reading(tmp_path):
    file = tmp_path / "no such.db"
    why = r"no such\.db: unable to open database file; .*has it run\?"
    with closing(LedgerReader(f"sqlite:///{file}")) as reader, pytest.raises(LedgerError, match=why):
        reader.last_pass()
    assert not file.exists()


def test_a_file_whose_name_has_url_characters_is_read(tmp_path, make):
    url = f"sqlite:///{tmp_path / 'a b#c%20.db'}"
    with closing(Ledger.open(url)) as ledger, closing(LedgerReader(url)) as reader:
        ledger.record_intent(make.record(0))
        assert reader.last_pass().at == make.at(0)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ops:hunter2@127.0.0.1:1/ledger",
        "postgresql://ops:hunter2@127.0.0.1:1/ledger",
        "postgresql+psycopg://ops@127.0.0.1:1/ledger?password=hunter2",
    ],
)
def test_a_password_is_never_shown(url):
    with pytest.raises(LedgerError, match="the daemon cannot start without it") as caught:
        Ledger.open(url)
    told = [str(caught.value), repr(caught.value), shown(url), repr(Ledger(url)), repr(LedgerReader(url))]
    assert not [one for one in told if "hunter2" in one]
    assert "127.0.0.1" in told[0]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("hunter2 is not a url", "is not a database URL"),
        ("mysql://ops:hunter2@db/ledger", "runs on sqlite and postgresql, not on mysql"),
        ("postgresql+nosuch://ops:hunter2@db/ledger", "is not installed"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_words(url, message):
    with pytest.raises(LedgerError, match=message) as caught:
        Ledger.open(url)
    assert "hunter2" not in str(caught.value)
