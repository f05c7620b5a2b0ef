"""What the sportsbook benchmark tells follows from its rows, and README tells the committed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from svc.generate.readme import README, part
from tests.bench import sportsbook_report as report
from tests.bench.load_odds import number_of, odds_of
from tests.bench.sportsbook_report import AIMS, BETS, ODDS, ONE_MARKET, SETTLEMENTS, Aim, Row, aims

RATES = {
    (BETS, 64): (1_600.0, 40.0),
    (SETTLEMENTS, 20_000): (5_890.0, 0.0),
    (ODDS, 2_400): (2_400.0, 12.0),
    (ODDS, 4_800): (4_790.0, 49.0),
    (ODDS, 9_600): (8_000.0, 600.0),
    (ONE_MARKET, 1_000): (3_000.0, 30.0),
    (ONE_MARKET, 1_000_000): (3_000.0, 33.0),
}


def rows(factors: tuple[float, ...] = (1.0,)) -> list[Row]:
    return [
        Row(
            round=number, what=what, size=size, done=1, per_s=per_s * factor, p50_ms=p50_ms,
            p99_ms=90, cpu_us={"postgres": 10}, others={},
        )
        for number, factor in enumerate(factors, 1)
        for (what, size), (per_s, p50_ms) in RATES.items()
    ]  # fmt: skip


def results() -> report.Results:
    return report.Results(
        aims=aims(rows()), computed={}, verdicts={}, quick=False, rounds=1, seconds=1,
        measured_at=datetime(2026, 11, 1, tzinfo=UTC), machine={"cores": 2, "cpu": "a machine"},
        versions={}, rows=rows(),
    )  # fmt: skip


def test_each_aim_is_computed_from_what_it_names() -> None:
    assert aims(rows()) == {
        "bets_per_s": 1_600.0,
        "bets_p99": 90.0,
        "settlements_per_s": 5_890.0,
        "vs_published_peer": 10.0,
        "odds_per_s": 4_790.0,
        "odds_p50": 12.0,
        "growth": 1.1,
        "growth_of_cpu": 1.0,
    }


def test_an_aim_is_the_median_of_its_rounds() -> None:
    assert aims(rows((0.5, 1.0, 3.0)))["settlements_per_s"] == 5_890.0


def test_only_what_was_measured_is_told() -> None:
    assert list(aims([row for row in rows() if row.what == SETTLEMENTS])) == [
        "settlements_per_s", "vs_published_peer",
    ]  # fmt: skip


@pytest.mark.parametrize("aim", [a for a in AIMS if a.target], ids=lambda aim: aim.name)
def test_an_aim_is_kept_at_its_target_and_not_beyond(aim: Aim) -> None:
    assert aim.target is not None
    assert aim.verdict(aim.target) == "kept"
    assert aim.verdict(aim.target * (1.01 if aim.at_most else 0.99)) == "not yet"


def test_results_are_the_same_after_a_file(tmp_path: Path) -> None:
    assert report.read(report.write(results(), tmp_path)) == results()


@pytest.mark.parametrize("number", [1, 99, 100, 101, 12_345])
def test_a_watcher_knows_a_message_by_its_odds(number: int) -> None:
    assert number_of(odds_of(number)) == number


def test_the_committed_readme_is_that_of_the_committed_rows() -> None:
    for path in report.RESULTS.glob(report.NAME):
        found = report.read(path)
        assert not found.quick
        assert found.aims == aims(found.rows)
        assert part(README.read_text(), report.README_PART) == report.readme_part(found)
