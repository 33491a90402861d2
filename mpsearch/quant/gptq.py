# SPDX-License-Identifier: Apache-2.0
"""Rounding that lets the weights of one output channel make up for each other's errors, given the covariance of their inputs.

GPTQ rounds one input after another and moves those still real to compensate; sweeps of coordinate descent on the integers follow, then the best
step for the integers found, then more sweeps. All channel groups, output channels and candidate steps are rounded side by side.
References: [Frantar2022] arXiv:2210.17323, sec. 3; [Nair2024] CDQuant, arXiv:2406.17542, alg. 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mpsearch.quant.ranges import integer_range

DAMPING = 0.01
"""Share of the mean variance that is added to every variance: keeps inputs that were never seen to vary from growing without bound."""

_BLOCK = 64
_SWEEPS = 2
_SHRINKS: dict[int, list[float]] = {
    bits: np.linspace(1 - reach, 1 + reach, count).tolist()
    for bits, reach, count in ((2, 0.4, 15), (3, 0.3, 13), (4, 0.2, 9), (5, 0.1, 5), (6, 0.05, 3), (7, 0.0, 1), (8, 0.0, 1))
}
"""Steps to try, as multiples of the first: the fewer the bits, the more the best step moves."""

_MOST_WORK = 1 << 31
"""Multiply-adds that may go into trying steps, for one layer at one bit-width; large layers try fewer: they have more weights to compensate with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compensation:
    """What one layer's inputs say about the rounding of its weights, at any bit-width.

    Attributes:
        hessian: float32 (groups, fan_in, fan_in), the damped covariance.
        factor: float32, the same shape, the upper Cholesky factor of the inverse of the Hessian in the order of rounding.
        order: (fan_in,), inputs of large variance first.
    """

    hessian: torch.Tensor
    factor: torch.Tensor
    order: torch.Tensor


def prepare_compensation(covariance: npt.NDArray[np.float64]) -> Compensation:
    """Factorise the covariance of a layer's inputs.

    Args:
        covariance: (groups, fan_in, fan_in), positive semi-definite.
    """
    raw = torch.from_numpy(covariance)
    variance = raw.diagonal(dim1=1, dim2=2)
    extra = DAMPING * variance.mean(1, keepdim=True)
    extra = torch.where(extra > 0, extra, torch.ones_like(extra))
    hessian = raw + torch.diag_embed(extra.expand_as(variance))
    order = hessian.diagonal(dim1=1, dim2=2).mean(0).argsort(descending=True, stable=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian[:, order][:, :, order]))
    return Compensation(hessian=hessian.float(), factor=torch.linalg.cholesky(inverse, upper=True).float(), order=order)


def round_jointly(
    weight: npt.NDArray[np.float64],
    scale: npt.NDArray[np.float64],
    compensation: Compensation,
    bits: int,
    smallest_scale: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Choose steps and integers of little mean squared output error, trace(D C D^T) with D the change of the weights and C the covariance.

    Args:
        weight: (out, fan_in), the output channels of one group after another.
        scale: (out,), the steps to start from, > 0.
        compensation: From `prepare_compensation`.
        bits: Signed bits, 2 to 8.
        smallest_scale: (out,), no step goes below.

    Returns:
        The steps, (out,), and the integers as float64, (out, fan_in).
    """
    hessian = compensation.hessian
    groups, fan_in = hessian.shape[:2]
    real = torch.from_numpy(weight).float().reshape(groups, -1, fan_in)
    floor = torch.from_numpy(smallest_scale).float().reshape(groups, -1)
    steps = torch.from_numpy(scale).float().reshape(groups, 1, -1) * torch.tensor(_tried_shrinks(bits, len(scale) * fan_in**2))[:, None]
    steps = torch.maximum(steps, floor[:, None])
    candidates = _compensate(real, steps, compensation, bits)
    best = _output_error(candidates * steps[..., None] - real[:, None], hessian).argmin(1, keepdim=True)
    step = steps.gather(1, best).squeeze(1)
    integers = candidates.gather(1, best[..., None].expand(-1, -1, -1, fan_in)).squeeze(1)
    step = torch.maximum(_best_step(real, integers, step, hessian), floor)
    for _ in range(_SWEEPS):
        integers = _descend(real, integers, step, hessian, bits)
    return step.reshape(-1).double().numpy(), integers.reshape(weight.shape).double().numpy()


def _tried_shrinks(bits: int, work: int) -> list[float]:
    """Return the multiples to try when trying one costs that many multiply-adds: the whole grid, or its middle half thinned out."""
    grid = _SHRINKS[bits]
    affordable = max(1, _MOST_WORK // work)
    if affordable >= len(grid):
        return grid
    reach = (grid[-1] - grid[0]) / 4
    return np.linspace(1 - reach, 1 + reach, affordable).tolist() if affordable > 1 else [1.0]


def _output_error(change: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Return the mean squared output error of each output channel: (groups, candidates, out) for a change of (groups, candidates, out, fan_in)."""
    return ((change.flatten(1, 2) @ hessian).reshape(change.shape) * change).sum(-1)


def _compensate(real: torch.Tensor, steps: torch.Tensor, compensation: Compensation, bits: int) -> torch.Tensor:
    """Run GPTQ for every candidate step.

    Args:
        real: (groups, out, fan_in).
        steps: (groups, candidates, out).
        compensation: Of the layer.
        bits: Signed bits.

    Returns:
        Integers, (groups, candidates, out, fan_in).
    """
    fan_in = real.shape[-1]
    lowest, highest = integer_range(bits)
    order, upper = compensation.order, compensation.factor
    rest = real[:, None, :, order].repeat(1, steps.shape[1], 1, 1).flatten(1, 2)
    step = steps.flatten(1)
    integers = torch.empty_like(rest)
    for start in range(0, fan_in, _BLOCK):
        stop = min(start + _BLOCK, fan_in)
        # Columns are worked on one by one, so they lie in rows here.
        block, factor = rest[:, :, start:stop].transpose(1, 2).contiguous(), upper[:, start:stop, start:stop]
        chosen = torch.empty_like(block)
        for k in range(stop - start):
            column = block[:, k]
            chosen[:, k] = (column / step).round().clamp(lowest, highest)
            column.sub_(chosen[:, k] * step).div_(factor[:, k, k, None])
            block[:, k + 1 :].baddbmm_(factor[:, k, k + 1 :, None], column[:, None], alpha=-1)
        integers[:, :, start:stop] = chosen.transpose(1, 2)
        rest[:, :, stop:].baddbmm_(block.transpose(1, 2), upper[:, start:stop, stop:], alpha=-1)
    return integers[:, :, order.argsort()].reshape(*steps.shape, fan_in)


def _descend(real: torch.Tensor, integers: torch.Tensor, step: torch.Tensor, hessian: torch.Tensor, bits: int) -> torch.Tensor:
    """Set one integer of every output channel after another to its best value, the others held: the error never rises.

    Args:
        real: (groups, out, fan_in).
        integers: (groups, out, fan_in), where to start.
        step: (groups, out).
        hessian: (groups, fan_in, fan_in), positive definite.
        bits: Signed bits.
    """
    lowest, highest = integer_range(bits)
    fan_in = real.shape[-1]
    integers = integers.clone()
    gradient = (integers * step[..., None] - real) @ hessian
    for start in range(0, fan_in, _BLOCK):
        stop = min(start + _BLOCK, fan_in)
        slope, curvature = gradient[:, :, start:stop].transpose(1, 2).contiguous(), hessian[:, start:stop, start:stop]
        now = integers[:, :, start:stop].transpose(1, 2).contiguous()
        change = torch.empty_like(now)
        for k in range(stop - start):
            best = (now[:, k] - slope[:, k] / (curvature[:, k, k, None] * step)).round().clamp(lowest, highest)
            change[:, k] = (best - now[:, k]) * step
            now[:, k] = best
            slope.baddbmm_(curvature[:, k, :, None], change[:, k, None])
        integers[:, :, start:stop] = now.transpose(1, 2)
        gradient.baddbmm_(change.transpose(1, 2), hessian[:, start:stop])
    return integers


def _best_step(real: torch.Tensor, integers: torch.Tensor, step: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Return the step of least error for given integers; the old one where all of them are 0."""
    weighted = integers @ hessian
    power = (weighted * integers).sum(-1)
    best = (weighted * real).sum(-1) / power.clamp_min(1e-30)
    return torch.where(best > 0, best, step)
