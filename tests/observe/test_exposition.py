"""The fast reader says what prometheus_client's parser says, and no bytes can make it fail."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from controller.observe.exposition import Page, PageReader, Series

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.prom"))

patient = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])  # others use this machine too

Sample = tuple[str, tuple[tuple[str, str], ...], float]


def everything(series: Series) -> Series:
    return series


def ours(page: Page[Series]) -> list[Sample]:
    return [
        (key.name, tuple(sorted(key.labels.items())), value) for key, value in zip(page.keys, page.values, strict=True)
    ]


def reference(text: str) -> list[Sample]:
    """What the library's parser finds. Told that a family is a counter, it would add ``_total`` to the page's names."""
    text = re.sub(r"(?m)^# TYPE \S+ counter$", "", text)
    return [
        (sample.name, tuple(sorted(sample.labels.items())), float(sample.value))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def same(one: Iterable[Sample], other: Iterable[Sample]) -> bool:
    """Equality as a multiset, NaN equal to itself: the library groups samples by family."""
    return sorted(map(repr, one)) == sorted(map(repr, other))


names = st.text(st.sampled_from("aZ_:"), min_size=1, max_size=4)
label_names = st.sampled_from(["a", "b_", "_c", "le", "model_name", "Z9"])
label_values = st.text(st.sampled_from('az09\\"\n{},= #é漢\U0001f600'), max_size=12)
numbers = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**12), 10**12).map(str),
    st.sampled_from(["NaN", "+Inf", "-Inf", "1e3", "1.5E-7", "0", "-0.0", "9.007199254740993e+15"]),
)


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@st.composite
def sample_lines(draw: st.DrawFn) -> str:
    labels = draw(st.dictionaries(label_names, label_values, max_size=4))
    inside = ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())
    comma = "," if labels and draw(st.booleans()) else ""
    block = f"{{{inside}{comma}}}" if labels or draw(st.booleans()) else ""
    stamp = draw(st.sampled_from(["", "", " 1700000000000"]))
    return f"{draw(names)}{block} {draw(numbers)}{stamp}"


comments = st.sampled_from(["", "# a remark", "# HELP some_family what it is", "# TYPE some_family gauge", "   "])
valid_pages = st.lists(sample_lines() | comments, max_size=12).map(lambda lines: "\n".join(lines) + "\n")


@patient
@given(valid_pages)
@example('a{b="c\\\\n\\"d"} NaN\n')
@example('a 1\na 1 1700000000000\na 2\na{} 3\na{b="",} +Inf\n')
def test_a_valid_page_reads_as_the_librarys_parser_reads_it(text: str) -> None:
    page = PageReader(everything).read(text.encode())
    assert page.rejected == 0
    assert same(ours(page), reference(text))


@patient
@given(st.lists(valid_pages, min_size=2, max_size=4))
def test_what_was_learned_from_earlier_pages_changes_nothing(texts: list[str]) -> None:
    reader = PageReader(everything)
    for text in (*texts, *texts):
        assert same(ours(reader.read(text.encode())), reference(text))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_recorded_page_reads_as_the_librarys_parser_reads_it(path: Path) -> None:
    page = PageReader(everything).read(path.read_bytes())
    assert page.rejected == 0
    assert page.samples == len(page.keys) > 10
    assert same(ours(page), reference(path.read_text()))


@pytest.mark.parametrize(
    "line",
    [
        b"no_value",
        b"no_value{}",
        b'open{a="b} 1',
        b'open{a="b" 1',
        b"unquoted{a=b} 1",
        b'nothing{a="b"}',
        b"words not a number",
        b"under_score 1_000",
        b"9digit 1",
        b"late 1 2 3",
        b"late 1 soon",
        b'{a="b"} 1',
        b"<html><body>Not Found</body></html>",
        b"\xff\xfe\x00",
    ],
)
def test_a_malformed_line_is_counted_and_its_neighbours_are_read(line: bytes) -> None:
    reader = PageReader(everything)
    for _ in range(2):  # the second time from memory
        page = reader.read(b"before 1\n" + line + b"\nafter 2\n")
        assert [key.name for key in page.keys] == ["before", "after"]
        assert (page.values, page.rejected, page.samples) == ([1.0, 2.0], 1, 2)


@pytest.mark.parametrize("number", [b"oops", b"1_000", b""])
def test_a_known_series_with_a_bad_value_is_rejected(number: bytes) -> None:
    reader = PageReader(everything)
    assert reader.read(b"known 1\n").values == [1.0]
    page = reader.read(b"known " + number + b"\n")
    assert (page.values, page.rejected) == ([], 1)


@patient
@given(st.lists(st.binary(max_size=60) | sample_lines().map(str.encode), max_size=8), st.binary(max_size=5))
def test_no_bytes_make_it_raise(lines: list[bytes], end: bytes) -> None:
    reader = PageReader(everything)
    body = b"\n".join(lines) + end
    first, again = reader.read(body), reader.read(body)
    assert len(first.keys) == len(first.values)
    assert same(ours(first), ours(again))
    assert (first.rejected, first.samples) == (again.rejected, again.samples)


@patient
@given(valid_pages, st.binary(max_size=20).filter(lambda noise: b"\n" not in noise), st.integers(0, 200))
def test_a_damaged_line_costs_only_itself(text: str, noise: bytes, place: int) -> None:
    lines = text.encode().split(b"\n")
    whole = len(ours(PageReader(everything).read(text.encode())))
    lines[place % len(lines)] += noise
    assert len(ours(PageReader(everything).read(b"\n".join(lines) + b"\n"))) >= whole - 1


def test_reading_stops_at_the_cap_and_the_rest_is_counted() -> None:
    body = b"".join(b"series_%d 1\n" % number for number in range(100))
    page = PageReader(everything, max_series=30).read(body)
    assert (len(page.values), page.samples, page.rejected) == (30, 30, 70)


def test_a_page_cut_off_in_the_middle_of_a_line_is_not_whole() -> None:
    reader = PageReader(everything)
    assert reader.read(b"a 1\nb 2\n").whole
    assert not reader.read(b"a 1\nb 2").whole


def test_unwanted_series_are_samples_but_not_kept() -> None:
    reader = PageReader(lambda series: series if series.name == "a" else None)
    for _ in range(2):
        page = reader.read(b"a 1\nb 2\na 3\n")
        assert (page.values, page.samples, page.rejected) == ([1.0, 3.0], 3, 0)


def test_not_a_number_stays_not_a_number() -> None:
    assert math.isnan(PageReader(everything).read(b"a NaN\n").values[0])


def test_memory_of_series_texts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.observe.exposition.MOST_KNOWN_SERIES", 10)
    reader = PageReader(everything)
    body = b"".join(b'hostile{id="%d"} 1\n' % number for number in range(100))
    assert len(reader.read(body).values) == len(reader.read(body).values) == 100
    assert len(reader._known) <= 10
