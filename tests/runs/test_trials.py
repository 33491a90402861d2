# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from mpsearch.errors import RecordError
from mpsearch.records import BitWidthConfig, Precision
from mpsearch.runs.summary import rank_correlation
from mpsearch.runs.trials import Trial, TrialBook


def trial(bits: int, error: float, score: float = 1.0) -> Trial:
    config = BitWidthConfig(model_digest="m", precisions=(("conv", Precision(weight_bits=bits)),))
    return Trial(kind="solver", choice=(bits,), config=config, score=score, costs=(("flash", 10.0 * bits),), error=error)


def test_a_known_config_is_not_evaluated_again_even_after_a_restart(tmp_path: Path) -> None:
    book = TrialBook(tmp_path / "trials.json", "m")
    assert book.error_of(trial(4, 0).config, lambda _: 7.5) == 7.5
    book.add(trial(4, 7.5))
    reopened = TrialBook(tmp_path / "trials.json", "m")
    assert reopened.error_of(trial(4, 0).config, lambda _: pytest.fail("evaluated twice")) == 7.5
    assert reopened.trials == book.trials


def test_a_log_of_another_model_is_refused(tmp_path: Path) -> None:
    TrialBook(tmp_path / "trials.json", "m").add(trial(4, 7.5))
    with pytest.raises(RecordError, match="belongs to model m, this one is other"):
        TrialBook(tmp_path / "trials.json", "other")


def test_the_same_trial_is_logged_once(tmp_path: Path) -> None:
    book = TrialBook(tmp_path / "trials.json", "m")
    for _ in range(2):
        book.add(trial(4, 7.5))
    assert len(book.trials) == 1


def test_rank_correlation_is_that_of_score_and_error() -> None:
    trials = [trial(bits, error, score) for bits, error, score in ((2, 9.0, 3.0), (3, 5.0, 2.0), (4, 6.0, 1.0), (8, 1.0, 0.0))]
    assert rank_correlation(trials) == pytest.approx(0.8)  # 1 - 6 * (1 + 1) / (4 * 15)


def test_rank_correlation_needs_three_configs_that_differ() -> None:
    assert rank_correlation([trial(2, 1.0, 1.0), trial(3, 2.0, 2.0)]) is None
    assert rank_correlation([trial(bits, 1.0, float(bits)) for bits in (2, 3, 4)]) is None
