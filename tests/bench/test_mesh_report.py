"""The mesh's benchmark tells what it measured, how it was computed, and what was not there."""

from svc.generate.readme import README, part
from tests.bench.measures import Row
from tests.bench.mesh_ratios import ECHOES, FIGURES, PROMISES, middle, ratios
from tests.bench.mesh_report import README_PART, read, readme_part, results
from tests.bench.report import RESULTS


def row(number: int, contender: str, throughput: float, in_flight: int = 256) -> Row:
    """Return one measurement."""
    return Row(
        round=number, contender=contender, in_flight=in_flight, throughput=throughput, p50_ms=1.0,
        p99_ms=2.0, cpu_us={"service": 1.0, "client": 2.0, "nats": 3.0}, answered=10, refused=0,
        failed=0, settled_s=0.0,
    )  # fmt: skip


ROWS = [
    row(1, "mesh", 100), row(1, "raw", 100), row(1, "faststream", 10),
    row(2, "mesh", 300), row(2, "raw", 200), row(2, "faststream", 50),
    row(3, "mesh", 200), row(3, "raw", 100), row(3, "faststream", 50),
]  # fmt: skip


def test_ratios_are_medians_of_what_was_measured_in_the_same_round() -> None:
    found = ratios(ROWS)

    assert found["vs_raw"] == 1.5
    assert found["vs_faststream"] == 6.0


def test_what_was_not_measured_has_no_ratio() -> None:
    assert "vs_moleculer" not in ratios(ROWS)
    assert ratios([]) == {}


def test_ratios_of_other_kinds_of_calls_stand_apart() -> None:
    kinds = [row(1, "mesh", 200), row(1, "mesh alone", 100), row(1, "mesh together", 400)]
    found = ratios([*kinds, row(1, "raw", 100)])

    assert [found["vs_raw"], found["vs_raw_alone"], found["vs_raw_together"]] == [2.0, 1.0, 4.0]


def test_figures_are_medians_too() -> None:
    measured = [{"events_per_s": 1.0}, {"events_per_s": 9.0}, {"events_per_s": 3.0, "other": 2.0}]

    assert middle(measured) == {"events_per_s": 3.0, "other": 2.0}


def test_no_two_promises_have_the_same_name() -> None:
    assert len(PROMISES) == len(ECHOES) + len(FIGURES)


def test_the_results_tell_verdicts_and_who_was_absent() -> None:
    found = results(
        ROWS, [{"events_per_s": 100.0, "event_p50_ms": 3.0}], {"moleculer": "node is not there"},
        rounds=3, seconds=1.0, quick=False,
    )  # fmt: skip

    assert found.verdicts["vs_raw"] == "kept"
    assert found.verdicts["events_per_s"] == "not yet"
    assert found.verdicts["event_p50_ms"] == "kept"
    assert set(found.verdicts) <= set(found.computed)
    text = readme_part(found)
    assert "| raw | " in text
    assert "Not here: moleculer (node is not there)." in text
    assert "100 a second | ≥ 8,000 a second" in text


def test_the_committed_readme_is_that_of_the_committed_rows() -> None:
    for path in RESULTS.glob("mesh.json"):
        found = read(path)
        assert not found.quick
        assert (found.ratios, found.figures) == (ratios(found.rows), middle(found.measured))
        assert part(README.read_text(), README_PART) == readme_part(found)
