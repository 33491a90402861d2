# SPDX-License-Identifier: Apache-2.0
"""Records survive the way to disk and back, and nothing else is taken for one."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpsearch import records, storage
from mpsearch.errors import RecordError
from mpsearch.records import (
    OPERATOR_CLASSES,
    AvgPool2d,
    BitWidthConfig,
    Budget,
    CalibrationStats,
    Concat,
    Conv2d,
    CostTable,
    DeviceWidths,
    Evaluation,
    ExportBundle,
    InputMoments,
    Layer,
    LayerConstants,
    LayerGraph,
    LayerShape,
    Limit,
    MaxPool2d,
    Mean,
    MeasuredLayer,
    MeasuredTable,
    MetricCost,
    Op,
    Pad,
    Precision,
    Quantization,
    QuantizedGraph,
    QuantizerGroup,
    Requantize,
    SearchProblem,
    SearchResult,
    SensitivityTable,
    Slice,
    Solution,
    Tensor,
    TensorStats,
    Transpose,
    Unary,
    digest_of,
)
from mpsearch.storage import load_record, read_config_yaml, save_record, write_config_yaml

names = st.text(min_size=1, max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.floats(allow_nan=False)
small = st.integers(0, 9)
pairs = st.tuples(small, small)
quads = st.tuples(small, small, small, small)
precisions = st.builds(Precision, weight_bits=st.integers(2, 16), activation_bits=st.integers(2, 16), group_size=st.none() | st.integers(1, 128))
digests = st.text("0123456789abcdef", min_size=8, max_size=8)


def arrays(dtype: type, *shape: int, low: float = -100, high: float = 100) -> st.SearchStrategy[np.ndarray]:
    values = st.floats(low, high, width=32) if np.dtype(dtype).kind == "f" else st.integers(int(low), int(high))
    return hnp.arrays(dtype, shape, elements=values)


operations = st.one_of(
    st.builds(Conv2d, stride=pairs, padding=quads, dilation=pairs, groups=small),
    st.builds(records.Linear),
    st.builds(records.Add),
    st.builds(records.Mul),
    st.builds(records.Reshape),
    st.builds(Concat, axis=small),
    st.builds(Unary, function=names, parameters=st.lists(numbers, max_size=3).map(tuple)),
    st.builds(MaxPool2d, kernel=pairs, stride=pairs, padding=quads),
    st.builds(AvgPool2d, kernel=pairs, stride=pairs, padding=quads, count_padding=st.booleans()),
    st.builds(Mean, axes=st.lists(small, max_size=3).map(tuple)),
    st.builds(Pad, before=pairs, after=pairs, value=numbers),
    st.builds(Transpose, permutation=st.permutations([0, 1, 2]).map(tuple)),
    st.builds(Slice, start=pairs, stop=pairs, step=pairs),
)
layers = st.builds(
    Layer,
    name=names,
    op=operations,
    inputs=st.just(("in",)),
    output=st.just("out"),
    weight=st.none() | arrays(np.float32, 2, 3),
    bias=st.none() | arrays(np.float32, 2),
    clamp=st.none() | st.tuples(numbers, numbers),
    macs=small,
)
tensors = st.builds(Tensor, name=st.sampled_from(["in", "out"]), shape=pairs, quantizer=small, precision_group=small)


def graph_of(middle: list[Layer], groups: tuple[QuantizerGroup, ...]) -> LayerGraph:
    named = tuple(Tensor(name=name, shape=(4, 4, 2), quantizer=0, precision_group=0) for name in ("in", "out"))
    return LayerGraph(
        inputs=("in",),
        input_permutations=((1, 2, 0),),
        output="out",
        output_permutation=(2, 0, 1),
        tensors=named,
        layers=tuple(middle),
        groups=groups,
    )


groups = st.builds(QuantizerGroup, name=names, layers=st.lists(names, max_size=3).map(tuple))
graphs = st.builds(graph_of, st.lists(layers, min_size=1, max_size=3), st.lists(groups, max_size=2).map(tuple))
configs = st.builds(BitWidthConfig, model_digest=digests, precisions=st.lists(st.tuples(names, precisions), max_size=4).map(tuple))
stats = st.builds(
    TensorStats,
    name=names,
    minimum=finite,
    maximum=finite,
    histogram=arrays(np.int64, 5, low=0, high=2**40),
    mean=arrays(np.float64, 3),
    mean_square=arrays(np.float64, 3),
)
moments = st.builds(InputMoments, layer=names, covariance=arrays(np.float32, 2, 3, 3), patches=small)
quantizations = st.builds(Quantization, scale=st.floats(1e-30, 1e30), zero_point=st.integers(-128, 127))
requantizes = st.builds(
    Requantize,
    multiplier=arrays(np.int32, 3, low=1 << 30, high=(1 << 31) - 1),
    right_shift=arrays(np.int8, 3, low=1, high=31),
    left_shift=st.integers(0, 30),
)
constants = st.builds(
    LayerConstants,
    layer=names,
    weight=st.none() | arrays(np.int8, 2, 3),
    weight_bits=small,
    weight_scale=st.none() | arrays(np.float64, 2),
    bias=st.none() | arrays(np.int32, 2, low=-(2**31), high=2**31 - 1),
    requantize=st.lists(requantizes, max_size=2).map(tuple),
    table=st.none() | arrays(np.int8, 256),
)
partial_scores = hnp.arrays(np.float64, (3, 2), elements=st.floats(0, 1e300) | st.just(np.nan))
two_precisions = st.just((Precision(weight_bits=2), Precision(weight_bits=8)))
three_groups = st.just(("a", "b", "c"))
metric_costs = st.builds(
    MetricCost, metric=names, unit=names, cost=hnp.arrays(np.float64, (1, 3, 2), elements=finite | st.just(np.nan)), fixed=arrays(np.float64, 1)
)
solutions = st.builds(Solution, choice=st.tuples(small, small), objective=finite)
statuses = st.sampled_from(["optimal", "feasible", "infeasible", "failed"])
limits = st.builds(Limit, metric=names, value=finite, text=names)

sizes = st.integers(1, 1000)
layer_shapes = st.builds(
    LayerShape,
    operator=st.sampled_from(OPERATOR_CLASSES),
    input=st.tuples(sizes, sizes, sizes),
    output=st.tuples(sizes, sizes, sizes),
    kernel=st.tuples(sizes, sizes),
    padding=st.tuples(small, small, small, small),
    groups=sizes,
    operands=sizes,
)
measured_layers = st.builds(
    MeasuredLayer,
    shape=layer_shapes,
    precision=st.none() | precisions,
    cycles=st.none() | finite,
    instructions=st.none() | small,
    seconds=st.none() | finite,
)

EVERY_RECORD: dict[str, st.SearchStrategy[object]] = {
    "LayerShape": layer_shapes,
    "DeviceWidths": st.builds(DeviceWidths, weight_bits=st.integers(1, 32), activation_bits=st.integers(1, 32)),
    "MeasuredLayer": measured_layers,
    "MeasuredTable": st.builds(
        MeasuredTable,
        target=names,
        method=names,
        clock_hz=st.none() | finite,
        rows=st.lists(measured_layers, max_size=3).map(tuple),
        like=st.none() | names,
    ),
    "Tensor": tensors,
    "Layer": layers,
    "QuantizerGroup": groups,
    "LayerGraph": graphs,
    "Precision": precisions,
    "BitWidthConfig": configs,
    "TensorStats": stats,
    "InputMoments": moments,
    "CalibrationStats": st.builds(
        CalibrationStats,
        tensors=st.lists(stats, max_size=2).map(tuple),
        samples=small,
        model_digest=digests,
        moments=st.lists(moments, max_size=2).map(tuple),
    ),
    "Quantization": quantizations,
    "Requantize": requantizes,
    "LayerConstants": constants,
    "QuantizedGraph": st.builds(
        QuantizedGraph,
        graph=graphs,
        config=configs,
        quantizations=st.tuples(quantizations, quantizations),
        constants=st.lists(constants, max_size=2).map(tuple),
    ),
    "SensitivityTable": st.builds(
        SensitivityTable,
        proxy=names,
        groups=three_groups,
        precisions=two_precisions,
        score=partial_scores,
        forward_passes=st.floats(0, 1e9),
        model_digest=digests,
    ),
    "MetricCost": metric_costs,
    "CostTable": st.builds(
        CostTable,
        groups=three_groups,
        precisions=two_precisions,
        metrics=st.lists(metric_costs, max_size=2).map(tuple),
        target=names,
        model_digest=digests,
    ),
    "Limit": limits,
    "Budget": st.builds(Budget, limits=st.lists(limits, max_size=3).map(tuple)),
    "SearchProblem": st.builds(
        SearchProblem,
        groups=three_groups,
        precisions=two_precisions,
        score=arrays(np.float64, 3, 2),
        costs=st.lists(metric_costs, max_size=2).map(tuple),
        limits=st.lists(finite, max_size=2).map(tuple),
    ),
    "Solution": solutions,
    "SearchResult": st.builds(
        SearchResult, status=statuses, solutions=st.lists(solutions, max_size=3).map(tuple), bound=st.floats(), gap=st.floats(), solver=names
    ),
    "Evaluation": st.builds(Evaluation, error=finite, metric=names, samples=small, execution=st.sampled_from(["real", "simulated", "integer"])),
    "ExportBundle": st.builds(
        ExportBundle, path=names, flash_bytes=small, arena_bytes=small, macs=small, digests=st.lists(st.tuples(names, digests), max_size=3).map(tuple)
    ),
}


def test_every_record_type_has_a_round_trip_test() -> None:
    defined = {
        name for name, value in vars(records).items() if isinstance(value, type) and is_dataclass(value) and value.__module__ == records.__name__
    }
    assert defined - {option.__name__ for option in get_args(Op)} == set(EVERY_RECORD)


@pytest.mark.parametrize("name", EVERY_RECORD)
@given(data=st.data())
def test_a_record_comes_back_as_it_was_saved(name: str, data: st.DataObject) -> None:
    record = data.draw(EVERY_RECORD[name])
    with tempfile.TemporaryDirectory() as folder:
        path = save_record(record, Path(folder) / "record.json")
        loaded = load_record(path, type(record))
    assert type(loaded) is type(record)
    assert digest_of(loaded) == digest_of(record)


def scores(seed: int = 0, count: int = 3) -> SensitivityTable:
    generator = np.random.default_rng(seed)
    return SensitivityTable(
        proxy="fisher",
        groups=tuple(f"layer{index}" for index in range(count)),
        precisions=(Precision(weight_bits=2), Precision(weight_bits=8)),
        score=generator.random((count, 2)),
        forward_passes=3.0,
        model_digest="abc",
    )


def test_a_small_array_is_written_into_the_json_as_nested_lists_with_null_for_nan(tmp_path: Path) -> None:
    cost = MetricCost(metric="flash", unit="byte", cost=np.array([[[1.0, np.nan]]]), fixed=np.array([2.0]))
    document = json.loads(save_record(cost, tmp_path / "cost.json").read_text())
    assert document["data"]["cost"] == {"dtype": "<f8", "shape": [1, 1, 2], "values": [[[1.0, None]]]}
    assert (document["schema"], document["record"]) == (1, "MetricCost")
    assert not (tmp_path / "cost.npz").exists()


def test_a_large_array_goes_to_the_npz_beside_the_json(tmp_path: Path) -> None:
    table = scores(count=storage.INLINE_VALUES)
    path = save_record(table, tmp_path / "scores.json")
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["score"], table.score)
    assert digest_of(load_record(path, SensitivityTable)) == digest_of(table)


def test_loaded_arrays_are_read_only(tmp_path: Path) -> None:
    loaded = load_record(save_record(scores(), tmp_path / "scores.json"), SensitivityTable)
    with pytest.raises(ValueError, match="read-only"):
        loaded.score[0, 0] = 1.0


@pytest.mark.parametrize("count", [3, storage.INLINE_VALUES])
def test_the_same_record_gives_the_same_bytes(tmp_path: Path, count: int) -> None:
    for name in ("a", "b"):
        save_record(scores(count=count), tmp_path / name / "scores.json")
    written = [sorted((path.name, path.read_bytes()) for path in (tmp_path / name).iterdir()) for name in ("a", "b")]
    assert written[0] == written[1]


def test_numpy_scalars_and_whole_numbers_in_float_fields_load_again(tmp_path: Path) -> None:
    limit = Limit(metric="flash", value=2_000_000, text="2MB")
    assert load_record(save_record(limit, tmp_path / "limit.json"), Limit) == limit
    evaluation = Evaluation(error=np.float64(1.5), metric="mse", samples=np.int64(7), execution="integer")  # type: ignore[arg-type]
    assert load_record(save_record(evaluation, tmp_path / "evaluation.json"), Evaluation) == evaluation


def test_a_missing_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"scores\.json does not exist"):
        load_record(tmp_path / "scores.json", SensitivityTable)


def test_a_folder_is_not_read_as_a_record(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        load_record(tmp_path, SensitivityTable)


def test_another_record_type_is_refused(tmp_path: Path) -> None:
    path = save_record(scores(), tmp_path / "scores.json")
    with pytest.raises(RecordError, match="holds a SensitivityTable, wanted a CostTable"):
        load_record(path, CostTable)


def change(path: Path, **values: object) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **values}))


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = save_record(scores(), tmp_path / "scores.json")
    change(path, schema=99)
    with pytest.raises(RecordError, match="schema 99, wanted 1"):
        load_record(path, SensitivityTable)


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_file_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = save_record(scores(), tmp_path / "scores.json")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RecordError, match="is damaged: no JSON"):
        load_record(path, SensitivityTable)


def test_json_that_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[1, 2]")
    with pytest.raises(RecordError, match="holds a list, wanted a record"):
        load_record(path, SensitivityTable)


def test_a_changed_value_is_noticed(tmp_path: Path) -> None:
    path = save_record(scores(), tmp_path / "scores.json")
    path.write_text(path.read_text().replace("fisher", "guess!"))
    with pytest.raises(RecordError, match="do not give its digest"):
        load_record(path, SensitivityTable)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"proxy": "fisher",', "", "field 'proxy' is missing"),
        ('"proxy": "fisher"', '"proxy": 3', "got 3 where"),
        ('"proxy": "fisher"', '"proxy": ["fisher"]', "got a sequence where"),
        ('"dtype": "<f8"', '"dtype": "O"', "where numbers were wanted"),
        ('"weight_bits": 8', '"weight_bits": 99', "weight_bits is 99"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = save_record(scores(), tmp_path / "scores.json")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(RecordError, match=complaint):
        load_record(path, SensitivityTable)


def test_a_missing_npz_is_refused(tmp_path: Path) -> None:
    path = save_record(scores(count=storage.INLINE_VALUES), tmp_path / "scores.json")
    (tmp_path / "scores.npz").unlink()
    with pytest.raises(RecordError, match=r"scores\.npz does not exist"):
        load_record(path, SensitivityTable)


@given(position=st.integers(0, 10**9))
def test_a_damaged_npz_is_refused(position: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save_record(scores(count=storage.INLINE_VALUES), Path(folder) / "scores.json")
        archive = path.with_suffix(".npz")
        data = bytearray(archive.read_bytes())
        data[position % len(data)] ^= 0xFF
        archive.write_bytes(data)
        with pytest.raises(RecordError, match=r"scores\.npz is damaged, or belongs to another record"):
            load_record(path, SensitivityTable)


def test_an_object_that_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"A set at /text cannot be saved"):
        save_record(Limit(metric="flash", value=1.0, text={1}), tmp_path / "limit.json")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RecordError, match="cannot be written"):
        save_record(scores(), tmp_path / "scores.json")


def test_a_path_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written: File exists"):
        save_record(scores(), tmp_path / "file" / "scores.json")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(RecordError, match="No space left on device"):
        storage.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


# ---------------------------------------------------------------- config.yaml


def config() -> BitWidthConfig:
    return BitWidthConfig(
        model_digest="12345678",
        precisions=(("stem", Precision(weight_bits=8)), ("on", Precision(weight_bits=3)), ("block 1", Precision(weight_bits=2))),
    )


@given(record=configs.filter(lambda config: len({name for name, _ in config.precisions}) == len(config.precisions)))
def test_a_config_survives_yaml(record: BitWidthConfig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert read_config_yaml(write_config_yaml(record, Path(folder) / "config.yaml")) == record


def test_the_yaml_is_what_other_tools_expect(tmp_path: Path) -> None:
    text = write_config_yaml(config(), tmp_path / "config.yaml").read_text()
    assert text == "schema: 1\nmodel_digest: '12345678'\nlayers:\n  stem: w8a8\n  'on': w3a8\n  block 1: w2a8\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("layers: [", "cannot be read as YAML"),
        ("- 1", "is no config"),
        ("schema: 1\nlayers: {}\n", "is no config"),
        ("schema: 2\nmodel_digest: a\nlayers: {}\n", "schema 2, wanted 1"),
        ("schema: 1\nmodel_digest: a\nlayers: []\n", "wanted model_digest as text and layers as a mapping"),
        ("schema: 1\nmodel_digest: a\nlayers: {conv1: w4}\n", r"layers\.conv1: Precision: got 'w4'"),
        ("schema: 1\nmodel_digest: a\nlayers: {conv1: w99a8}\n", r"layers\.conv1: Precision: weight_bits is 99"),
    ],
)
def test_a_wrong_config_file_is_refused_with_the_place(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(RecordError, match=complaint):
        read_config_yaml(path)


def test_a_missing_config_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"does not exist.*mpsearch optimize"):
        read_config_yaml(tmp_path / "config.yaml")
