"""What the benchmark tells follows from its rows, and what is committed is what they tell."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from svc.generate.readme import README, part
from tests.bench import chart, report
from tests.bench.measures import Row
from tests.bench.ratios import RATIOS, Ratio, ratios

RATES = {
    ("wallet", 1): 900.0,
    ("wallet", 256): 40_000.0,
    ("wallet", 1024): 48_000.0,
    ("grpc", 1): 600.0,
    ("grpc", 256): 1_600.0,
    ("pgbench", 1): 4_000.0,
    ("pgbench", 8): 3_500.0,
    ("pgbench", 32): 2_000.0,
    ("echo", 256): 80_000.0,
    ("raw", 256): 50_000.0,
    ("echo", 1024): 60_000.0,
    ("raw", 1024): 40_000.0,
    ("mesh", 256): 60_000.0,
    ("wallet empty", 256): 40_000.0,
    ("wallet accounts_1m", 256): 30_000.0,
    ("wallet entries_10m", 256): 36_000.0,
    ("wallet hot_account", 256): 50_000.0,
    ("wallet processes_2", 256): 30_000.0,
    ("wallet partitions_2", 256): 60_000.0,
}


def rows(factors: tuple[float, ...] = (1.0,)) -> list[Row]:
    """Rounds on a machine that was now slower, now faster."""
    return [
        Row(
            round=number, contender=contender, in_flight=in_flight, throughput=rate * factor,
            p50_ms=4.0, p99_ms=6.0, cpu_us={}, answered=1, refused=0, failed=0, settled_s=0,
        )
        for number, factor in enumerate(factors, 1)
        for (contender, in_flight), rate in RATES.items()
    ]  # fmt: skip


def results() -> report.Results:
    return report.Results(
        ratios=ratios(rows()), quick=False, rounds=1, seconds=1, players=10_000,
        measured_at=datetime(2026, 11, 1, tzinfo=UTC), acknowledged=7, broken=[],
        machine={"cores": 2, "cpu": "a machine"}, versions={}, postgres={}, rows=rows(),
    )  # fmt: skip


def test_each_ratio_compares_what_its_promise_names() -> None:
    assert ratios(rows()) == {
        "vs_grpc_256": 25.0,
        "vs_grpc_1": 1.5,
        "vs_pgbench": 10.0,
        "best_to_pgbench": 12.0,
        "share_of_echo": 0.8,
        "share_of_echo_1024": 1.2,
        "share_of_lean_echo": 0.5,
        "share_of_lean_echo_1024": 0.8,
        "p99_over_p50": 1.5,
        "accounts_1m": 0.75,
        "entries_10m": 0.9,
        "hot_account": 1.25,
        "processes_2": 0.75,
        "partitions_2": 1.5,
        "mesh_vs_raw": 1.2,
    }


def test_a_round_on_a_slower_machine_changes_no_ratio() -> None:
    assert ratios(rows((1.0, 0.4, 1.3))) == ratios(rows())


def test_only_what_was_measured_has_a_ratio() -> None:
    only = [row for row in rows() if row.contender in ("mesh", "raw")]

    assert list(ratios(only)) == ["mesh_vs_raw"]


PROMISES = [ratio for ratio in RATIOS if ratio.target is not None]


@pytest.mark.parametrize("ratio", PROMISES, ids=lambda ratio: ratio.name)
def test_a_promise_is_kept_at_its_target_and_not_beyond(ratio: Ratio) -> None:
    worse = 1.01 if ratio.at_most else 0.99

    assert ratio.target is not None
    assert ratio.kept(ratio.target)
    assert not ratio.kept(ratio.target * worse)


def test_the_chart_is_valid_and_names_each_contender_that_was_measured() -> None:
    drawn = ET.fromstring(chart.svg(results()))  # noqa: S314  # our own
    texts = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")}

    measured = {contender for contender, _ in RATES}
    assert {label for name, label in chart.LINES.items() if name in measured} <= texts


def test_results_are_the_same_after_a_file(tmp_path: Path) -> None:
    report.write(results(), tmp_path)

    assert report.read(tmp_path / "wallet.json") == results()


def test_the_committed_chart_and_readme_are_those_of_the_committed_rows() -> None:
    for path in report.RESULTS.glob("wallet.json"):
        found = report.read(path)
        assert not found.quick
        assert found.ratios == ratios(found.rows)
        assert path.with_suffix(".svg").read_text() == chart.svg(found)
        assert part(README.read_text(), report.README_PART) == report.readme_part(found)
