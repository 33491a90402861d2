# SPDX-License-Identifier: Apache-2.0
"""The page is one well-formed file that loads nothing, hides nothing and escapes everything."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from mpsearch.report.data import FrontPoint, ReportData
from mpsearch.report.page import render_page
from tests.report.sample import HOSTILE, sample_measurement, sample_report

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Outline(HTMLParser):
    """Collects tags, attributes and texts, and checks that every tag is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


def charts(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def titles(chart: ElementTree.Element) -> list[str]:
    return [title.text or "" for title in chart.iter("title")]


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(sample_report())


def test_every_tag_is_closed_and_the_four_charts_are_well_formed(page: str) -> None:
    assert [tag for tag, _ in Outline(page).tags].count("main") == 1
    labels = [chart.get("aria-label") for chart in charts(page)]
    assert labels == ["top1_error (%) against flash", "predicted score against flash", "bits of every layer", "cost of every layer"]


def test_the_page_loads_nothing(page: str) -> None:
    for tag, attributes in Outline(page).tags:
        assert tag not in {"link", "img", "iframe", "object", "embed"}
        assert not {"src", "href", "srcset", "data", "action"} & set(attributes)
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_the_numbers_of_the_run_are_on_the_page(page: str) -> None:
    texts = Outline(page).texts
    for wanted in ("optimal", "0.83 %", "0.67 %", "1.998 MB", "2 MB", "99.9%", "87.3 ms", "w2to8-a8", "cortex-m7", "1.25 s"):
        assert any(wanted in text for text in texts), wanted


def test_every_layer_has_a_row_and_every_layer_with_weights_a_bar(page: str) -> None:
    data = sample_report()
    texts = Outline(page).texts
    bars = charts(page)[2]
    for row in data.layers:
        assert row.name in texts
    assert titles(bars) == [f"{row.name}: {row.precision}" for row in data.layers if row.weight_bits]


def test_every_evaluated_point_can_be_pointed_at(page: str) -> None:
    assert sorted(titles(charts(page)[0])) == [
        "candidate 2: 1.999 MB, top1_error (%) 1",
        "chosen: 1.998 MB, top1_error (%) 0.83",
        "w2a8: 550 kB, top1_error (%) 40",
        "w6a8: 1.64 MB, top1_error (%) 0.9",
    ]
    assert len(titles(charts(page)[1])) == 22


@pytest.mark.parametrize("layers", [1, 6, 150])
def test_every_mark_lies_inside_its_chart(layers: int) -> None:
    for chart in charts(render_page(sample_report(layers=layers))):
        _, _, width, height = (float(value) for value in (chart.get("viewBox") or "").split())
        for mark in (*chart.iter("rect"), *chart.iter("circle"), *chart.iter("line")):
            xs = [float(mark.get(name, "0")) for name in ("x", "cx", "x1", "x2") if mark.get(name)]
            ys = [float(mark.get(name, "0")) for name in ("y", "cy", "y1", "y2") if mark.get(name)]
            assert all(0 <= x <= width for x in xs)
            assert all(0 <= y <= height for y in ys)
            assert float(mark.get("width", "0")) >= 0
            assert float(mark.get("height", "0")) >= 0


def test_text_from_the_user_is_escaped() -> None:
    data = sample_report(name=HOSTILE)
    data = dataclasses.replace(
        data,
        layers=(dataclasses.replace(data.layers[0], name=HOSTILE), *data.layers[1:]),
        points=(FrontPoint(flash_bytes=1.0, error=1.0, label=HOSTILE, kind="evaluated"),),
        settings=((HOSTILE, HOSTILE),),
        target=HOSTILE,
        metric=HOSTILE,
    )
    page = render_page(data)
    assert "alert('x')" not in page
    assert [tag for tag, _ in Outline(page).tags].count("script") == 1
    assert HOSTILE in Outline(page).texts


def test_without_a_target_the_page_shows_macs_and_no_cycles() -> None:
    page = render_page(sample_report(with_target=False))
    assert "cycles" not in " ".join(Outline(page).texts)
    assert any("of the MACs" in title for title in titles(charts(page)[3]))


def test_a_run_without_points_limits_or_times_still_gives_a_page() -> None:
    bare = dataclasses.replace(sample_report(), points=(), limits=(), wall_seconds=(), variants=(), gap=float("inf"), bound=float("nan"))
    assert len(charts(render_page(bare))) == 2


def test_the_same_run_gives_the_same_page(page: str) -> None:
    assert render_page(sample_report()) == page


def test_the_flash_budget_is_that_of_the_flash_limit() -> None:
    data: ReportData = sample_report()
    assert data.flash_budget == 2_000_000
    assert dataclasses.replace(data, limits=data.limits[1:]).flash_budget is None


def test_predictions_stand_beside_measurements_with_their_errors() -> None:
    page = render_page(dataclasses.replace(sample_report(), measured=(sample_measurement(),)))
    texts = Outline(page).texts
    assert "Predicted beside measured: cortex-m7" in texts
    row = texts.index("blocks.2.conv1", texts.index("predicted instructions"))
    assert texts[row : row + 7] == ["blocks.2.conv1", "Conv2d", "w4a8", "150 k", "330 k", "300 k", "+10.0 %"]
    # 2.52 million cycles at 1 GHz; 2.15 of 2.31 million instructions at the same cycles each.
    row = texts.index("latency", texts.index("of one inference"))
    assert texts[row : row + 4] == ["latency", "2.52 ms", "2.345 ms", "+7.4 %"]
    line = "predicted 2.31 M instructions, measured 2.15 M: error +7.4 %, median of the layers' errors 10.0%; mine states ±7.0% a layer (median)"
    assert line in texts
    assert "<b>a note</b>" in texts
    assert "Measured with gcc 12.2; QEMU 7.2." in texts


def test_the_agreement_of_every_layer_that_executes_something_can_be_pointed_at() -> None:
    page = render_page(dataclasses.replace(sample_report(), measured=(sample_measurement(),)))
    chart = next(chart for chart in charts(page) if chart.get("aria-label") == "predicted against measured instructions")
    assert titles(chart)[1] == "blocks.1.conv1: predicted 220 k, measured 200 k, +10.0 %"
    assert len(titles(chart)) == 6
    _, _, width, height = (float(value) for value in (chart.get("viewBox") or "").split())
    assert all(0 <= float(mark.get("cx", "-1")) <= width and 0 <= float(mark.get("cy", "-1")) <= height for mark in chart.iter("circle"))


def test_a_measurement_without_a_prediction_has_no_layers_to_compare() -> None:
    run = dataclasses.replace(sample_measurement(), compared="", device="", predicted_instructions=None, predicted_cycles=None, error_total=None)
    page = render_page(dataclasses.replace(sample_report(), measured=(run,)))
    assert "Predicted beside measured: cortex-m7" in Outline(page).texts
    assert len(charts(page)) == 4


def test_the_reasons_are_on_the_page_and_escaped() -> None:
    texts = Outline(render_page(dataclasses.replace(sample_report(), reasons=(HOSTILE,), layer_reasons=("stem: w4a8",)))).texts
    assert "Why this target gives this config" in texts
    assert HOSTILE in texts
    assert "stem: w4a8" in texts


def test_the_stated_error_stands_beside_what_is_predicted() -> None:
    data = sample_report()
    limits = (*data.limits[:2], dataclasses.replace(data.limits[2], stated_error="±7.0 % a layer"))
    texts = Outline(render_page(dataclasses.replace(data, limits=limits))).texts
    assert texts[texts.index("87.3 ms") : texts.index("87.3 ms") + 3] == ["87.3 ms", "58.2%", "±7.0 % a layer"]
