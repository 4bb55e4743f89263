"""Rounds of the accountant: each piece does its work, and what fails stops nothing else."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.facts.account_reader import HOUR, Dimension
from controller.facts.budgets import AtLimit, Budget

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
USD = 10**9


def budget(usd: float, **changes) -> Budget:
    return replace(Budget(name="all", limit_nanousd=round(usd * USD)), **changes)


@dataclass
class Quoter:
    name: str = "AWS spot"
    fails: bool = False
    asked: tuple = ()

    def refresh(self, offers, now):
        if self.fails:
            raise RuntimeError("a bug of ours")
        self.asked = tuple(offers)
        return {}


def test_an_empty_ledger_is_nothing_to_tell(desk):
    result = desk.step()
    assert desk.settled_at == [NOON]
    assert (result.problems, desk.news, desk.accountant.guards()) == ((), [], {})


def test_a_source_is_read_and_its_mark_is_kept_after_each_page(desk):
    desk.asks(sources=(desk.senders,))
    desk.senders.waiting = 3
    desk.step()
    assert desk.senders.taken == ["litellm"] * 3
    assert desk.senders.marks == {"litellm": (NOON - timedelta(minutes=1), "left 0")}


def test_a_source_without_news_does_not_hold_hours_up(desk):
    """Hours wait for sources that were not read beyond them; one that has nothing to tell was."""
    desk.asks(sources=(desk.senders,))
    desk.senders.marks["litellm"] = (NOON - timedelta(hours=9), "place")
    desk.step()
    assert desk.senders.marks == {"litellm": (NOON - desk.duties.settle_after, "place")}


def test_what_was_read_before_a_source_broke_is_kept(desk):
    desk.asks(sources=(desk.senders,))
    desk.senders.marks["litellm"] = (NOON - timedelta(hours=9), "place")
    desk.senders.broken = "the connection was refused"
    result = desk.step()
    assert desk.senders.marks["litellm"][1] == "place"
    assert result.problems == ("usage source litellm: the connection was refused",)
    assert desk.settled_at == [NOON]


def test_a_source_that_stays_broken_for_an_hour_is_told_once_and_when_it_is_back(desk):
    desk.asks(sources=(desk.senders,))
    desk.senders.broken = "the connection was refused"
    told = []
    for minutes in range(0, 75, 5):
        desk.step(NOON + timedelta(minutes=minutes))
        told += desk.names
    assert told == ["usage_source_late_litellm firing"]
    assert "the connection was refused" in desk.told[0].summary
    desk.senders.broken = ""
    desk.step(NOON + timedelta(minutes=80))
    assert desk.names == ["usage_source_late_litellm resolved"]


def test_a_quoter_that_breaks_stops_neither_the_other_nor_the_hours(desk):
    broken, good = Quoter(fails=True), Quoter(name="AWS on demand")
    desk.asks(asked=((broken, ("aws/a/b",)), (good, ("aws/a/c",))))
    result = desk.step()
    assert result.problems == ("prices of AWS spot: RuntimeError: a bug of ours",)
    assert good.asked == ("aws/a/c",)
    assert desk.settled_at == [NOON]


def test_a_ledger_that_cannot_be_written_is_told_and_tried_again(desk):
    desk.spends(lambda _: 1.0, 8)
    desk.asks(budgets=(budget(1.0),))
    desk.ledger_down = "disk full"
    assert desk.step().problems == ("settling hours: disk full",)
    assert "budget_threshold firing" in desk.names  # what is known is told all the same
    desk.ledger_down = ""
    assert desk.step(NOON + timedelta(minutes=5)).problems == ()


def test_once_stopped_nothing_more_is_begun_and_what_was_read_is_kept(desk):
    desk.asks(sources=(desk.senders,))
    desk.senders.waiting = 3
    add = desk.senders.add
    desk.senders.add = lambda source, batch: (desk.accountant.stop(), add(source, batch))[1]
    desk.step()
    assert (desk.senders.taken, desk.senders.waiting, desk.settled_at) == (["litellm"], 2, [])


def test_hours_that_do_not_add_up_are_told_and_resolved(desk):
    desk.round.problems = ["2026-11-21 10:00 UTC: pool 1 is off by 3"]
    desk.step()
    assert desk.names == ["hours_not_settled firing"]
    assert desk.news[0].severity == "critical"
    desk.round.problems = []
    desk.step(NOON + timedelta(minutes=5))
    assert desk.names == ["hours_not_settled resolved"]


def test_a_price_that_nobody_knows_is_told_with_its_reason(desk):
    desk.asks(unpriced=lambda now: {"chat": "h100 on_demand: the last quote is 9 days old"})
    desk.step()
    assert desk.names == ["price_unknown firing"]
    assert "9 days old" in desk.news[0].summary
    desk.asks(unpriced=lambda now: {})
    desk.step(NOON + timedelta(minutes=5))
    assert desk.names == ["price_unknown resolved"]


@pytest.mark.parametrize(("limit", "told"), [(0.02, ["unattributed firing"]), (0.3, []), (None, [])])
def test_work_that_no_record_explains_is_told_above_its_share(desk, limit, told):
    desk.spends(lambda _: 4.0, 8)
    desk.asks(unattributed_ratio=limit)
    desk.step()
    assert desk.names == told
    if told:
        assert "25.0% of the work of chat from 2026-11-21 07:00 to 10:00 UTC" in desk.news[0].summary


def test_hours_that_are_not_settled_for_a_long_time_are_told(desk):
    desk.spends(lambda _: 4.0, 20)
    desk.step()
    assert desk.names == []
    desk.step(NOON + 12 * HOUR)
    assert desk.names == ["settle_late firing"]


def test_budgets_stand_and_their_thresholds_are_told_once_also_after_a_restart(desk):
    desk.spends(lambda _: 1.0, 100)
    desk.asks(budgets=(budget(120, channels=("slack",)),))
    result = desk.step()
    (found,) = result.standings
    assert found.spent_nanousd == 100 * USD
    threshold = [one for one in desk.news if one.name == "budget_threshold"]
    assert [one.channels for one in threshold] == [("slack",)]
    assert "$100.00 of $120.00 spent: 80% reached" in threshold[0].summary
    assert desk.store.standings["all"].spent_nanousd == 100 * USD
    desk.begin()
    desk.step(NOON + timedelta(minutes=5))
    assert [name for name in desk.names if name.startswith("budget")] == []


def test_a_spent_budget_holds_growth_back_and_says_so(desk):
    desk.spends(lambda _: 1.0, 100)
    desk.asks(budgets=(budget(90, scope={Dimension.SERVICE: "chat"}, at_limit=AtLimit.REFUSE_GROWTH),))
    desk.step()
    (guard,) = desk.accountant.guards()["chat"]
    assert guard.refuse_growth
    assert [one.severity for one in desk.news if one.name == "budget_threshold"] == ["critical"]


def test_a_cap_is_the_rate_that_keeps_the_budget_and_minimums_stand(desk):
    desk.spends(lambda _: 1.0, 100)
    desk.asks(budgets=(budget(150, at_limit=AtLimit.CAP),), minimums=lambda now: {"chat": 2 * USD})
    desk.step()
    (guard,) = desk.accountant.guards()["chat"]
    assert guard.cap_nanousd_per_hour == 2 * USD  # (150 - 100) / 228 h would be $0.22, less than the minimum


def test_guards_stay_while_the_accounts_cannot_be_read(desk, monkeypatch):
    desk.spends(lambda _: 1.0, 100)
    desk.asks(budgets=(budget(90, scope={Dimension.SERVICE: "chat"}, at_limit=AtLimit.REFUSE_GROWTH),))
    desk.step()
    monkeypatch.setattr(desk.store, "memories", lambda: 1 / 0)
    result = desk.step(NOON + timedelta(minutes=5))
    assert any(one.startswith("budgets: ZeroDivisionError") for one in result.problems)
    assert "chat" in desk.accountant.guards()


def test_forecasts_are_kept_once_a_day_and_held_against_what_came(desk):
    desk.spends(lambda _: 1.0, 200, until=NOON - timedelta(days=2))
    desk.asks(budgets=(budget(1000),))
    desk.step(NOON - timedelta(days=2))
    desk.step(NOON - timedelta(days=2) + timedelta(minutes=5))
    assert sorted(one.horizon_days for one in desk.store.made.values()) == [1, 7, 14, 28]
    desk.reader.line_rows.clear()
    desk.begin()
    desk.spends(lambda _: 2.0, 260)
    desk.step()
    (came,) = [one for one in desk.store.made.values() if one.actual_nanousd is not None]
    assert (came.horizon_days, came.actual_nanousd) == (1, 48 * USD)
    assert len(desk.store.made) == 8


def test_settled_hours_are_not_read_again_until_they_are_corrected(desk, monkeypatch):
    desk.spends(lambda _: 1.0, 100)
    desk.asks(budgets=(budget(1000),))
    windows = []
    lines = desk.reader.lines
    monkeypatch.setattr(desk.reader, "lines", lambda window, *rest: windows.append(window) or lines(window, *rest))
    desk.step()
    desk.step(NOON + timedelta(minutes=5))
    assert {one.start for one in windows[-1:]} == {desk.known.settled_until}
    desk.round.corrected = [1]
    desk.step(NOON + timedelta(minutes=10))
    assert windows[-1].start == desk.known.first


def busy_since(begin: datetime, factor: float):
    return lambda at: 20.0 * (factor if at >= begin else 1.0)


def test_an_anomaly_is_told_with_its_driver_grows_and_ends(desk):
    desk.spends(busy_since(NOON - 3 * HOUR, 5.0), 24 * 30)
    result = desk.step()
    assert desk.names == ["anomaly firing"]
    assert "since 2026-11-21 09:00 UTC: $300.00 instead of $60.00, mostly by" in desk.news[0].summary
    (one,) = result.anomalies
    assert one.driver
    assert [kept.began for kept in desk.store.open_anomalies()] == [NOON - 3 * HOUR]
    later = NOON + 4 * HOUR
    desk.reader.line_rows.clear()
    desk.reader.seat_rows.clear()
    desk.spends(lambda at: 100.0 if NOON - 3 * HOUR <= at < NOON else 20.0, 24 * 30, until=later)
    desk.step(later)
    assert desk.names == ["anomaly resolved"]
    assert [kept.ended for kept in desk.store.found.values()] == [NOON + 3 * HOUR]


def test_after_a_restart_an_open_anomaly_goes_on_as_the_same_one(desk):
    desk.spends(busy_since(NOON - 3 * HOUR, 5.0), 24 * 30)
    desk.step()
    desk.begin()
    desk.step(NOON + timedelta(minutes=5))
    assert len(desk.store.found) == 1
    assert [one.began for one in desk.accountant.latest().anomalies] == [NOON - 3 * HOUR]


def test_anomalies_of_long_ago_are_kept_and_not_told(desk):
    begin = NOON - timedelta(days=5)
    desk.spends(lambda at: 100.0 if begin <= at < begin + 5 * HOUR else 20.0, 24 * 30)
    desk.step()
    assert desk.names == []
    assert [one.began for one in desk.store.found.values()] == [begin]
