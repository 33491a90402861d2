# SPDX-License-Identifier: Apache-2.0
"""A workload is checked once, at the border, and every refusal names what is wrong and where."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mpsearch import Workload
from mpsearch.errors import WorkloadError


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(left + right)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def workload(**changes: object) -> Workload:
    generator = torch.Generator().manual_seed(1)
    values: dict[str, object] = {
        "name": "small",
        "model": network(),
        "calibration": [torch.randn(5, 4, generator=generator), torch.randn(2, 4, generator=generator)],
        "evaluation": [(torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2]))],
        "metric": "top1_error",
    }
    return Workload(**{**values, **changes})  # type: ignore[arg-type]


def test_the_first_calibration_batch_is_the_example_input() -> None:
    made = workload()
    assert [tuple(tensor.shape) for tensor in made.example_inputs] == [(5, 4)]
    assert made.example_inputs[0] is made.calibration[0]


def test_a_model_with_two_inputs_takes_tuples() -> None:
    pair = (torch.ones(3, 4), torch.zeros(3, 4))
    made = workload(model=TwoInputs(), calibration=[pair], evaluation=[(pair, torch.tensor([0, 1, 2]))])
    assert len(made.example_inputs) == 2


def test_any_iterable_of_batches_will_do() -> None:
    loader = torch.utils.data.DataLoader([torch.ones(4), torch.zeros(4), torch.ones(4)], batch_size=2)
    assert [len(batch) for batch in workload(calibration=loader).calibration] == [2, 1]


def test_the_callers_model_is_left_alone_and_ours_is_in_eval_mode() -> None:
    model = network().train()
    before = copy.deepcopy(model.state_dict())
    made = workload(model=model)
    assert model.training
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in made.model.modules())
    with torch.no_grad():
        made.model[0].weight.zero_()  # type: ignore[index]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_tied_parameters_stay_tied_in_our_copy() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    made = workload(model=model)
    assert made.model[0].weight is made.model[1].weight  # type: ignore[index]


def test_the_metric_may_be_a_function_and_lends_its_name() -> None:
    def margin_loss(output: Tensor, target: Tensor) -> Tensor:
        return output.sum(1) - target

    assert workload(metric=margin_loss).metric_name == "margin_loss"
    assert workload().metric_name == "top1_error"


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_batches_may_differ_in_their_number_of_samples(sizes: list[int]) -> None:
    made = workload(calibration=[torch.ones(size, 4) for size in sizes])
    assert [len(batch) for batch in made.calibration] == sizes


def with_nan_weight() -> nn.Module:
    model = network()
    with torch.no_grad():
        model[3].weight[1, 2] = float("nan")  # type: ignore[index]
    return model


def with_nan_variance() -> nn.Module:
    model = network()
    model[1].running_var[0] = float("inf")  # type: ignore[index]
    return model


class Overflowing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 0


class Uncopyable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.history = nn.Linear(4, 3)(torch.ones(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x


def batch(*shape: int, value: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full(shape, value, dtype=dtype)


three = torch.tensor([0, 1, 2])

REFUSALS: dict[str, tuple[Callable[[], dict[str, object]], str]] = {
    "no name": (lambda: {"name": " "}, r"name is ' ', wanted a text that is not empty"),
    "a class for a model": (lambda: {"model": nn.Linear}, r"model is a type, wanted a torch\.nn\.Module"),
    "NaN weight": (lambda: {"model": with_nan_weight()}, r"parameter '3\.weight' holds 1 of 24 values that are NaN or infinite"),
    "infinite variance": (lambda: {"model": with_nan_variance()}, r"buffer '1\.running_var' holds 1 of 8 values"),
    "half precision model": (lambda: {"model": network().half()}, r"parameter '0\.weight' has dtype torch\.float16, wanted torch\.float32"),
    "uncopyable model": (lambda: {"model": Uncopyable()}, r"the model cannot be copied"),
    "unknown metric": (lambda: {"metric": "top1"}, r"unknown metric 'top1'\. Hint: did you mean top1_error\?"),
    "metric of the wrong type": (lambda: {"metric": 3}, r"metric is a int, wanted a name or a function"),
    "empty calibration": (lambda: {"calibration": []}, r"calibration is empty, wanted at least one batch"),
    "empty evaluation": (lambda: {"evaluation": ()}, r"evaluation is empty, wanted at least one batch"),
    "a tensor for a sequence": (lambda: {"calibration": batch(3, 4)}, r"calibration is a Tensor, wanted a sequence of batches\. Hint: .*\[batch\]"),
    "no sequence": (lambda: {"calibration": 3}, r"calibration is a int, wanted a sequence"),
    "list batch": (lambda: {"calibration": [[1.0, 2.0]]}, r"calibration\[0\], input 0 is a float, wanted a tensor"),
    "number batch": (lambda: {"calibration": [1.0]}, r"calibration\[0\] is a float, wanted a tensor or a tuple"),
    "scalar batch": (lambda: {"calibration": [torch.tensor(1.0)]}, r"calibration\[0\] has shape \(\), wanted \(batch, \.\.\.\)"),
    "batch without samples": (lambda: {"calibration": [batch(0, 4)]}, r"calibration\[0\] has shape \(0, 4\)"),
    "double inputs": (lambda: {"calibration": [batch(3, 4, dtype=torch.float64)]}, r"calibration\[0\] has dtype torch\.float64.*call \.float\(\)"),
    "NaN input": (lambda: {"calibration": [batch(3, 4), batch(3, 4, value=float("nan"))]}, r"calibration\[1\] holds 12 values that are NaN"),
    "unequal inputs": (lambda: {"calibration": [(batch(3, 4), batch(2, 4))]}, r"calibration\[0\] has inputs with \[2, 3\] samples"),
    "another sample shape": (
        lambda: {"calibration": [batch(3, 4), batch(3, 5)]},
        r"calibration\[1\], input 0: a sample has shape \(5,\), in .* \(4,\)",
    ),
    "another dtype": (lambda: {"calibration": [batch(3, 4), batch(3, 4, dtype=torch.int64)]}, r"calibration\[1\], input 0 has dtype torch\.int64"),
    "another number of inputs": (
        lambda: {"calibration": [batch(3, 4), (batch(3, 4), batch(3, 4))]},
        r"calibration\[1\] has 2 inputs, calibration\[0\] has 1",
    ),
    "evaluation without targets": (lambda: {"evaluation": [batch(3, 4)]}, r"evaluation\[0\] is a Tensor, wanted a pair \(inputs, targets\)"),
    "evaluation of another shape": (lambda: {"evaluation": [(batch(3, 9), three)]}, r"evaluation\[0\]\[0\], input 0: a sample has shape \(9,\)"),
    "list targets": (lambda: {"evaluation": [(batch(3, 4), [0, 1, 2])]}, r"evaluation\[0\]\[1\] is a list, wanted a tensor of targets"),
    "too few targets": (lambda: {"evaluation": [(batch(3, 4), three[:2])]}, r"evaluation\[0\]\[1\] has shape \(2,\), wanted 3 targets"),
    "float classes": (lambda: {"evaluation": [(batch(3, 4), three.float())]}, r"has dtype torch\.float32, wanted class indices"),
    "one-hot": (lambda: {"evaluation": [(batch(3, 4), torch.eye(3).long())]}, r"has shape \(3, 3\), wanted \(3,\) for top1_error.*no one-hot"),
    "NaN targets": (
        lambda: {"metric": "mse", "evaluation": [(batch(3, 4), batch(3, 3, value=float("nan")))]},
        r"evaluation\[0\]\[1\] holds 9 values",
    ),
    "a class too many": (lambda: {"evaluation": [(batch(3, 4), three + 1)]}, r"targets range from 1 to 3, the model tells 3 classes apart"),
    "model and inputs do not fit": (
        lambda: {"calibration": [batch(3, 5)], "evaluation": [(batch(3, 5), three)]},
        r"refuses calibration\[0\] of shape \(3, 5\)",
    ),
    "too few inputs": (lambda: {"model": TwoInputs()}, r"the model refuses calibration\[0\].*Hint: one tensor per argument"),
    "tuple output": (lambda: {"model": nn.LSTM(4, 3, batch_first=True)}, r"the model returns a tuple, wanted one tensor"),
    "no batch axis": (lambda: {"model": nn.Flatten(0)}, r"5 samples in, output of shape \(20,\)"),
    "infinite output": (lambda: {"model": Overflowing()}, r"the output for calibration\[0\] is NaN or infinite"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_parts_are_refused_by_name(case: str) -> None:
    changes, complaint = REFUSALS[case]
    with pytest.raises(WorkloadError, match=complaint):
        workload(**changes())
