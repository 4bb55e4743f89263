"""Traces as users have them, and everything that can be wrong with one."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.backtest.tracefile import read_lengths, read_spot, read_trace, read_workload
from controller.errors import ConfigError
from controller.simulate.arrivals import Requests
from controller.simulate.workload.clients import ClientLengths, ClientTrace, ClientWorkload
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.rates import RateTrace, RateWorkload
from controller.simulate.workload.traced import TracedWorkload

SHIPPED = Path(__file__).parents[2] / "benchmarks" / "traces"


@pytest.fixture
def file(tmp_path):
    """Writes a trace; gives its path."""

    def write(text: str | bytes, name: str = "t.csv", packed: bool = False) -> Path:
        data = text.encode() if isinstance(text, str) else text
        (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
        return tmp_path / name

    return write


def told(read, path: Path) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(path, shown_as="t.csv")
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        "arrival_s,prompt_tokens,output_tokens\n0,374,44\n4.5,396,109\n",
        "output_tokens, prompt_tokens ,arrival_s\r\n44,374,0\r\n109,396,4.5\r\n",
        "\ufeffarrival_s,prompt_tokens,output_tokens\n\n0,374,44\n\n4.5,396,109\n\n",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:51.1805900,396,109\n",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-12 00:00:00+00:00,374,44\n2024-05-12T00:00:04.500+00:00,396,109",
        "note,arrival_s,prompt_tokens,output_tokens,note,\nx,0,374,44,y,\nx,4.5,396,109,,\n",
        'note,arrival_s,prompt_tokens,output_tokens\n"a, b",0,374,44\n"two\nlines",4.5,396,109\n',
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n0,ChatGPT,374,44,418,API log\n4.5,GPT-4,396,109,505,API log\n",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_request_trace_is_read_whatever_its_columns_are_called(file, text, packed):
    trace = read_trace(file(text, "t.data", packed))
    assert isinstance(trace, Requests)
    assert trace.arrival_s.tolist() == [0, 4.5]
    assert trace.prompt_tokens.tolist() == [374, 396]
    assert trace.output_tokens.tolist() == [44, 109]
    assert trace.cached_tokens.tolist() == [0, 0]
    assert trace.prompt_tokens.dtype == np.int32


def test_cached_tokens_are_read_where_they_are_given(file):
    trace = read_trace(file("arrival_s,prompt_tokens,output_tokens,cached_tokens\n0,10,1,9\n1,10,1,0\n"))
    assert trace.cached_tokens.tolist() == [9, 0]


def test_a_rate_trace_tells_its_bin_width_by_itself(file):
    trace = read_trace(file("time_s,requests\n600,3\n660,0\n720,2.5\n"))
    assert isinstance(trace, RateTrace)
    assert (trace.start_s, trace.bin_s, trace.end_s) == (600, 60, 780)
    assert trace.requests.tolist() == [3, 0, 2.5]


def test_a_client_trace_keeps_who_sent_what(file):
    trace = read_trace(file("client,time_s,rate_rps,cv,family\nb,0,1.5,2,Gamma\na,600,2,1,Unfit\nb,1200,1,3,weibull\n"))
    assert isinstance(trace, ClientTrace)
    assert trace.window_s == 600
    assert [trace.names[index] for index in trace.client] == ["b", "a", "b"]
    assert trace.family.tolist() == [1, 0, 2]


HEADER = "arrival_s,prompt_tokens,output_tokens\n"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["t.csv: is empty; expected a header line and rows"]),
        (" \n\n", ["t.csv: is empty; expected a header line and rows"]),
        (HEADER, ["t.csv: has a header line but no rows"]),
        (HEADER + "\n\n", ["t.csv: has a header line but no rows"]),
        ("0,374,44\n1,396,109\n", ["t.csv:1:1: holds numbers where the names of the columns should stand"]),
        ("arrival_s;prompt_tokens;output_tokens\n0;1;1\n", ["t.csv:1:1: columns are separated by ';'; expected ','"]),
        ("time_s\trequests\n0\t1\n", ["t.csv:1:1: columns are separated by '\\t'; expected ','"]),
        (
            "time_s,requests\r0,1\r10,2\r",
            ["t.csv:1:16: a line ends in a bare carriage return (\\r); expected \\n or \\r\\n"],
        ),
        ("time_s,requests\n0,1\n10,2\r20,3\n", ["t.csv:3:5: a line ends in a bare carriage return (\\r); expected \\n or \\r\\n"]),
        (
            "time_s,requests,zone_é\n0,1,a\n".encode("latin-1"),
            ["t.csv:1:22: is not UTF-8 (byte 0xe9): expected a CSV file in UTF-8, gzip-packed or not"],
        ),
        ('{"time_s": 0, "requests": 3}\n', ["t.csv:1:1: is JSON: expected a CSV file, whose first line names its columns"]),
        ('[{"time_s": 0}]\n', ["t.csv:1:1: is JSON: expected a CSV file, whose first line names its columns"]),
        (b"\x7fELF\x00\n", ["t.csv:1:1: is not text: expected a CSV file, gzip-packed or not"]),
        (
            b"PK\x03\x04\x00\x00\x08\n",
            ["t.csv:1:1: is a zip (unpack it, or pack it with gzip): expected a CSV file, gzip-packed or not"],
        ),
        (
            b"\xff\xfea\x00,\x00\n",
            ["t.csv:1:1: is UTF-16 (save it as UTF-8): expected a CSV file, gzip-packed or not"],
        ),
        (b"PAR1\x15\x04\xe9\n", ["t.csv:1:7: is not UTF-8 (byte 0xe9): expected a CSV file in UTF-8, gzip-packed or not"]),
        (
            "arrival_s,promt_tokens,answer\n0,1,1\n",
            [
                "t.csv:1:1: output_tokens: the column is missing; found 'arrival_s', 'promt_tokens', 'answer'",
                "t.csv:1:1: prompt_tokens: the column is missing; is it the one named 'promt_tokens'?",
            ],
        ),
        (
            "arrival_s,timestamp,prompt_tokens,output_tokens\n0,0,1,1\n",
            ["t.csv:1:1: arrival_s: stands in 2 columns: arrival_s, timestamp"],
        ),
        (
            HEADER + "0,1,1\n5,2,2\n3,3,3\n4,3,3\n",
            ["t.csv:4:1: arrival_s: must not go back: found 3 after 5"],
        ),
        (
            HEADER + "-1,1,1\n5,-2,2\n6,0,0\n",
            [
                "t.csv:2:1: arrival_s: must be at least 0, found -1",
                "t.csv:3:3: prompt_tokens: must be at least 1, found -2",
                "t.csv:4:5: output_tokens: must be at least 1, found 0",
                "t.csv:4:3: prompt_tokens: must be at least 1, found 0",
            ],
        ),
        (
            HEADER + "0,many,1\n\nnan,2,inf\n2,,2.5\n3,5\n4,5000000000,1\n",
            [
                "t.csv:2:3: prompt_tokens: expected a number, found 'many'",
                "t.csv:4:1: arrival_s: expected a finite number, found nan",
                "t.csv:4:7: output_tokens: expected a finite number, found inf",
                "t.csv:5:4: output_tokens: expected a whole number, found 2.5",
                "t.csv:5:3: prompt_tokens: is empty; expected a number",
                "t.csv:6:1: has 2 fields, the header 3",
                "t.csv:7:3: prompt_tokens: must be at most 2.14748e+09, found 5000000000",
            ],
        ),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,1\nyesterday,1,1\n",
            ["t.csv:3:1: arrival_s: expected seconds or an ISO time, found 'yesterday'"],
        ),
        (
            HEADER + "0,1,1\n1,1,1,9\n\n2,1\n3,1,2,3,4\n1,x,1\n4,-1\n",
            [
                "t.csv:3:1: has 4 fields, the header 3",
                "t.csv:5:1: has 2 fields, the header 3",
                "t.csv:6:1: has 5 fields, the header 3",
                "t.csv:7:1: arrival_s: must not go back: found 1 after 3",
                "t.csv:7:3: prompt_tokens: expected a number, found 'x'",
                "t.csv:8:1: has 2 fields, the header 3",
            ],
        ),
        (HEADER + '0,"1,000",1\n1,1,"1,0",5\n', [
            "t.csv:2:3: prompt_tokens: expected a number, found '1,000'",
            "t.csv:3:1: has 4 fields, the header 3",
        ]),
        (HEADER + "0,1,1,1\n", ["t.csv:2:1: has 4 fields, the header 3"]),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,1\n2023-11-16 18:15:50,1,1\n2023-11-16 18:15:47.5,1,1\n",
            ["t.csv:4:1: arrival_s: must not go back: found 2023-11-16 18:15:47.5 after 2023-11-16 18:15:50"],
        ),
        (
            "time_s,requests\n0,1\n30,1\n10,1\n20,1\n40,1\n60,1\n",
            [
                "t.csv:4:1: time_s: is out of order: found 10 after 30",
                "t.csv:7:1: time_s: bins must follow each other every 10 s, found 60, 20 s after the one before",
            ],
        ),
        ("time_s,requests\n0,1\n10,1\nx,1\n30,1\n", ["t.csv:4:1: time_s: expected seconds or an ISO time, found 'x'"]),
        (
            "arrival_s,prompt_tokens,output_tokens,cached_tokens\n0,5,1,5\n",
            ["t.csv:2:7: cached_tokens: must be below prompt_tokens, found 5"],
        ),
        (
            "time_s,requests\n0,1\n10,1\n20,1\n50,-1\n55,1\n55,1\n",
            [
                "t.csv:5:4: requests: must be at least 0, found -1",
                "t.csv:5:1: time_s: bins must follow each other every 10 s, found 50, 30 s after the one before",
                "t.csv:6:1: time_s: bins must follow each other every 10 s, found 55, 5 s after the one before",
                "t.csv:7:1: time_s: bins must follow each other every 10 s, found 55, 0 s after the one before",
            ],
        ),
        (
            "time_s,requests\n0,1\n",
            ["t.csv:2:1: time_s: at least two bins, one after the other, are needed to know their width"],
        ),
        (
            "client,time_s,rate_rps,cv,family\na,0,1,1,Gama\nb,600,1,1,\n,1000,1,1,Gamma\na,1200,1,-1,Gamma\n",
            [
                "t.csv:2:9: family: expected one of poisson, exponential, unfit, gamma, weibull, found 'Gama'",
                "t.csv:3:11: family: is empty; expected text",
                "t.csv:4:1: client: is empty; expected text",
                "t.csv:5:10: cv: must be at least 0, found -1",
            ],
        ),
    ],
)  # fmt: skip
def test_every_mistake_is_told_with_its_line(file, text, problems):
    assert sorted(told(read_trace, file(text))) == sorted(problems)


def _line(problem: str) -> int:
    place = problem.split(":")
    return int(place[1]) if place[1].isdigit() else 0


def test_many_mistakes_are_counted_and_the_first_are_told(file):
    found = told(read_trace, file(HEADER + "".join(f"{second},0,x\n" for second in range(1000))))
    assert len(found) == 21
    assert found[0] == "t.csv: 2000 mistakes; the first 20 by line:"
    assert found[1] == "t.csv:2:3: prompt_tokens: must be at least 1, found 0"
    assert found[-1].startswith("t.csv:11:")


def test_a_file_that_is_not_there_is_told(tmp_path):
    assert told(read_trace, tmp_path / "absent.csv") == ["t.csv: cannot be read: No such file or directory"]


@pytest.mark.parametrize(("rows", "kept"), [(50_000, 0.6), (50_000, 0.2), (300, 0.7), (1, 0.5)])
def test_a_truncated_gzip_file_tells_how_far_it_goes(file, rows, kept):
    text = HEADER + "".join(f"{row},{1 + row * 7919 % 997},1\n" for row in range(rows))
    data = gzip.compress(text.encode())
    cut = data[: int(len(data) * kept)]
    (found,) = told(read_trace, file(cut))
    there = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(cut)
    lines = there.count(b"\n")
    where = f"after line {lines:,}" if lines else "within its first line"
    had = f"{len(there):,} bytes could be unpacked of the {len(cut):,} that are there"
    assert found == f"t.csv: the gzip file is cut off {where}: {had}. Nothing of it is used; fetch the file again"


def test_gzip_files_one_after_the_other_are_one(file):
    data = gzip.compress((HEADER + "0,1,1\n").encode()) + gzip.compress(b"1,1,1\n") + b"\0" * 7
    trace = read_trace(file(data, "t.csv.gz"))
    assert isinstance(trace, Requests)
    assert trace.arrival_s.tolist() == [0, 1]


def test_a_damaged_gzip_file_is_told(file):
    data = bytearray(gzip.compress((HEADER + "0,1,1\n").encode()))
    data[-6] ^= 0xFF
    (found,) = told(read_trace, file(bytes(data)))
    assert "the gzip file is damaged" in found


def test_packed_files_put_one_after_the_other_are_one_trace(file):
    data = gzip.compress((HEADER + "0,1,1\n").encode()) + gzip.compress(b"1,2,2\n")
    assert read_trace(file(data)).prompt_tokens.tolist() == [1, 2]


def test_an_open_quote_is_told(file):
    (found,) = told(read_trace, file(HEADER + '0,1,"1\n1,1,1\n'))
    assert "quote" in found or "number" in found


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(-5, 100).map(str), st.sampled_from(["", "x", "nan", "1e999", "2.5"])),
            st.one_of(st.integers(-1, 9).map(str), st.sampled_from(["", "x", "-inf", '"'])),
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_whatever_a_file_holds_it_is_read_or_refused_in_words(file, rows):
    path = file("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{at},{size},1\n" for at, size in rows))
    trace, problems = None, ()
    try:
        trace = read_trace(path)
    except ConfigError as error:
        problems = error.problems
    if trace is None:
        assert all(problem.message for problem in problems)
        assert problems
    else:
        assert np.all(np.diff(trace.arrival_s) >= 0)
        assert trace.arrival_s.min() >= 0
        assert trace.prompt_tokens.min() >= 1


def test_lengths_come_from_quantiles_or_from_requests(file):
    table = read_lengths(file("percentile,prompt_tokens,output_tokens\n0,1,1\n50,100,10\n100,200,20\n"))
    assert isinstance(table, Lengths)
    assert table.mean_prompt_tokens == pytest.approx((50.5 + 150) / 2)
    taken = read_lengths(file(HEADER + "0,100,10\n1,100,10\n"))
    assert (taken.mean_prompt_tokens, taken.mean_output_tokens) == pytest.approx((100, 10))
    assert taken.source == "t.csv"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "percentile,prompt_tokens,output_tokens\n1,1,1\n50,100,10\n50,90,20\n99,95,30\n",
            [
                "t.csv:2:1: percentile: percentiles go from 0 in the first row to 100 in the last, found 1",
                "t.csv:4:1: percentile: must go up: found 50 after 50",
                "t.csv:4:4: prompt_tokens: must not go back: found 90 after 100",
                "t.csv:5:1: percentile: percentiles go from 0 in the first row to 100 in the last, found 99",
            ],
        ),
        (
            "client,window_start_s,field,q0,q50,q100\na,0,input_tokens,1,5,4\na,0,outputs,1,5,9\n",
            [
                "t.csv:2:22: q100: a higher quantile must not be smaller, found 4",
                "t.csv:2:5: field: input_tokens and output_tokens must both be there for a client and window",
                "t.csv:3:5: field: expected input_tokens or output_tokens",
                "t.csv:3:5: field: input_tokens and output_tokens must both be there for a client and window",
            ],
        ),
        (
            "client,window_start_s,field,q50\na,0,input_tokens,1\n",
            [
                "t.csv:1:1: q0: the column is missing; found 'client', 'window_start_s', 'field', 'q50'",
                "t.csv:1:1: q100: the column is missing; found 'client', 'window_start_s', 'field', 'q50'",
            ],
        ),
    ],
)
def test_mistakes_in_lengths_are_told_with_their_line(file, text, problems):
    assert sorted(told(read_lengths, file(text))) == sorted(problems)


def test_lengths_by_client_belong_to_their_client_and_window(file):
    rows = "a,0,input_tokens,1,9\na,0,output_tokens,2,3\nb,600,output_tokens,5,5\nb,600,input_tokens,7,7\n"
    lengths = read_lengths(file("client,window_start_s,field,q0,q100\n" + rows))
    assert isinstance(lengths, ClientLengths)
    assert lengths.row_of(("b", "c", "a"), 2).tolist() == [[2, 1], [2, 2], [0, 2]]
    assert lengths.output_tokens[1].tolist() == [5, 5]


def test_a_spot_record_becomes_intervals(file):
    rows = "0,a,1\n0,b,0\n100,a,0\n200,b,2\n250,b,1\n300,a,1\n400,b,-1\n500,a,-1\n"
    market = read_spot(file("time_s,zone,available\n" + rows), notice_s=30)
    assert market.up["a"].tolist() == [[0, 100], [300, 500]]
    assert market.up["b"].tolist() == [[200, 400]]
    assert market.interruptions("a").tolist() == [100]
    assert market.available("b", 250)
    assert not market.available("a", 100)
    assert market.interruption_after("b", 0) == 400


def test_a_spot_record_of_several_gpus_keeps_them_apart(file):
    market = read_spot(file("time_s,zone,gpu,available\n0,a,H100,1\n0,a,L40S,0\n60,a,H100,0\n90,a,L40S,1\n"))
    assert market.zones == ("a/H100", "a/L40S")
    assert market.up["a/H100"].tolist() == [[0, 60]]


def test_mistakes_in_a_spot_record_are_told(file):
    found = told(read_spot, file("time_s,zone,available\n5,a,1\n3,,-2\n"))
    assert found == [
        "t.csv:3:1: time_s: must not go back: found 3 after 5",
        "t.csv:3:3: zone: is empty; expected text",
        "t.csv:3:4: available: must be at least -1, found -2",
    ]


def test_the_trace_decides_the_workload(file):
    requests = file(HEADER + "0,1,1\n", "requests.csv")
    rates = file("time_s,requests\n0,1\n10,1\n", "rates.csv")
    clients = file("client,time_s,rate_rps,cv,family\na,0,1,1,Gamma\n", "clients.csv")
    lengths = file("client,window_start_s,field,q0,q100\na,0,input_tokens,7,7\na,0,output_tokens,3,3\n", "lengths.csv")
    assert isinstance(read_workload(requests, seed=0), TracedWorkload)
    assert isinstance(read_workload(clients, lengths, seed=0), ClientWorkload)
    pooled = read_workload(rates, lengths, seed=0)
    assert isinstance(pooled, RateWorkload)
    assert pooled.until(20).prompt_tokens.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("name", "requests"),
    [("azure2023_code", 8_819), ("azure2023_conv", 19_366)],
)
def test_shipped_request_traces_hold_what_their_readme_says(name, requests):
    assert len(read_trace(SHIPPED / f"{name}.csv.gz")) == requests


@pytest.mark.parametrize(("name", "requests"), [("azure2024_conv_10s", 27_303_999), ("burstgpt1_daily_61d", 1_429_737)])
def test_shipped_rate_traces_hold_what_their_readme_says(name, requests):
    assert read_trace(SHIPPED / f"{name}.csv.gz").requests.sum() == requests


def test_shipped_client_rates_and_lengths_fit_together():
    clients = read_trace(SHIPPED / "servegen_m_large_client_rates_10min.csv.gz")
    lengths = read_lengths(SHIPPED / "servegen_m_large_token_quantiles.csv.gz")
    assert len(clients.names) == 162
    assert clients.mean_per_s == pytest.approx(195.8, abs=0.1)
    assert set(lengths.client) <= set(clients.names)


def test_shipped_lengths_have_the_published_means():
    lengths = read_lengths(SHIPPED / "azure2024_conv_token_quantiles.csv.gz")
    assert lengths.mean_prompt_tokens == pytest.approx(1632, abs=1)
    assert lengths.mean_output_tokens == pytest.approx(106, abs=0.1)
