# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.errors import BudgetError
from mpsearch.records import Limit
from mpsearch.search.budget import UNITS, format_like, parse_budget, unit_of


@pytest.mark.parametrize(
    ("text", "metric", "value"),
    [
        ("2MB", "flash", 2e6),
        ("150KB", "flash", 150e3),
        ("150kB", "flash", 150e3),
        ("1MiB", "flash", 2.0**20),
        ("flash=1.5GiB", "flash", 1.5 * 2**30),
        ("ram=256KiB", "ram", 256 * 1024.0),
        ("ram = 64 KiB", "ram", 64 * 1024.0),
        ("latency=5ms", "latency", 0.005),
        ("latency=250us", "latency", 250e-6),
        ("energy=2mJ", "energy", 0.002),
        ("bops=10G", "bops", 1e10),
        ("bops=1.5e9", "bops", 1.5e9),
        ("macs=40M", "macs", 4e7),
        ("bits=3.5", "bits", 3.5),
    ],
)
def test_a_budget_is_read_in_its_unit(text: str, metric: str, value: float) -> None:
    assert parse_budget([text]).limits == (Limit(metric=metric, value=value, text=text),)


def test_limits_keep_their_order() -> None:
    assert [limit.metric for limit in parse_budget(["latency=5ms", "2MB", "ram=64KiB"]).limits] == ["latency", "flash", "ram"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("much", "cannot be read"),
        ("1,5MB", "cannot be read"),
        ("2MB/s", "cannot be read"),
        ("-2MB", r"got -2, wanted a finite number above 0"),
        ("0MB", r"got 0, wanted a finite number above 0"),
        ("1e999MB", "wanted a finite number above 0"),
        ("1e-999MB", "wanted a finite number above 0"),
        ("nan", "not a finite number"),
        ("latency=infms", "not a finite number"),
        ("2mb", r"unknown unit 'mb'.*case-sensitive: did you mean MB"),
        ("energy=2MJ", r"unknown unit 'MJ'.*did you mean mJ"),
        ("2parsecs", r"unknown unit 'parsecs'.*units of flash: B"),
        ("2", r"flash needs a unit.*units of flash"),
        ("latency=5MB", r"'MB' is a unit of flash and ram, not of latency.*s, ms, us"),
        ("bits=4K", r"'K' is a unit of bops and macs, not of bits"),
        ("latncy=5ms", r"unknown metric 'latncy'.*did you mean latency"),
        ("=5ms", "unknown metric ''"),
    ],
)
def test_a_budget_that_cannot_be_read_says_why(text: str, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        parse_budget([text])


def test_a_metric_is_limited_once() -> None:
    with pytest.raises(BudgetError, match=r"flash is limited twice, by '2MB' and by 'flash=1MiB'"):
        parse_budget(["2MB", "ram=1MB", "flash=1MiB"])


@given(metric=st.sampled_from(sorted(UNITS)), data=st.data(), value=st.floats(1e-9, 1e15))
def test_a_formatted_value_reads_back_as_no_less_and_barely_more(metric: str, data: st.DataObject, value: float) -> None:
    unit = data.draw(st.sampled_from(sorted(UNITS[metric])))
    limit = Limit(metric=metric, value=1.0, text=f"{metric}=1{unit}")
    text = format_like(limit, value)
    (read,) = parse_budget([text]).limits
    assert unit_of(limit) == unit
    assert read.metric == metric
    assert value * (1 - 1e-11) <= read.value <= max(value * 1.01, float(UNITS[metric][unit]) * 1e-11)


def test_a_limit_without_readable_text_is_shown_in_its_first_unit() -> None:
    assert format_like(Limit(metric="latency", value=1.0, text="?"), 0.25) == "latency=0.25s"
