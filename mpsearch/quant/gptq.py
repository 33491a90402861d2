# SPDX-License-Identifier: Apache-2.0
"""Rounding that lets the weights of one output channel make up for each other's errors, given the covariance of their inputs.

GPTQ rounds one input after another and moves those still real to compensate; sweeps of coordinate descent on the integers follow, then the best
step for the integers found, then more sweeps. All channel groups, output channels and candidate steps are rounded side by side.
References: [Frantar2022] arXiv:2210.17323, sec. 3; [Nair2024] CDQuant, arXiv:2406.17542, alg. 1.
"""

from __future__ import annotations

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
    for bits, reach, count in ((2, 0.4, 17), (3, 0.3, 13), (4, 0.2, 9), (5, 0.1, 5), (6, 0.05, 3), (7, 0.0, 1), (8, 0.0, 1))
}
"""Steps to try, as multiples of the first: the fewer the bits, the more the best step moves."""


def round_jointly(
    weight: npt.NDArray[np.float64],
    scale: npt.NDArray[np.float64],
    covariance: npt.NDArray[np.float64],
    bits: int,
    smallest_scale: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Choose steps and integers of little mean squared output error, trace(D C D^T) with D the change of the weights.

    Args:
        weight: (out, fan_in), the output channels of one group after another.
        scale: (out,), the steps to start from, > 0.
        covariance: (groups, fan_in, fan_in), of the inputs.
        bits: Signed bits, 2 to 8.
        smallest_scale: (out,), no step goes below.

    Returns:
        The steps, (out,), and the integers as float64, (out, fan_in).
    """
    groups, fan_in = covariance.shape[:2]
    hessian = _damped(torch.from_numpy(covariance))
    real = torch.from_numpy(weight).reshape(groups, -1, fan_in)
    floor = torch.from_numpy(smallest_scale).reshape(groups, -1)
    shrinks = torch.tensor(_SHRINKS[bits], dtype=torch.float64)
    steps = torch.maximum(torch.from_numpy(scale).reshape(groups, 1, -1) * shrinks[:, None], floor[:, None])
    candidates = _compensate(real, steps, hessian, bits)
    best = _output_error(candidates * steps[..., None] - real[:, None], hessian).argmin(1, keepdim=True)
    step = steps.gather(1, best).squeeze(1)
    integers = candidates.gather(1, best[..., None].expand(-1, -1, -1, fan_in)).squeeze(1)
    integers = _descend(real, integers, step, hessian, bits)
    step = torch.maximum(_best_step(real, integers, step, hessian), floor)
    integers = _descend(real, integers, step, hessian, bits)
    return step.reshape(-1).numpy(), integers.reshape(weight.shape).numpy()


def _damped(covariance: torch.Tensor) -> torch.Tensor:
    variance = covariance.diagonal(dim1=1, dim2=2)
    extra = DAMPING * variance.mean(1, keepdim=True)
    extra = torch.where(extra > 0, extra, torch.ones_like(extra))
    return covariance + torch.diag_embed(extra.expand_as(variance))


def _output_error(change: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Return the mean squared output error of each output channel: (groups, candidates, out) for a change of (groups, candidates, out, fan_in)."""
    return ((change.flatten(1, 2) @ hessian).reshape(change.shape) * change).sum(-1)


def _compensate(real: torch.Tensor, steps: torch.Tensor, hessian: torch.Tensor, bits: int) -> torch.Tensor:
    """Run GPTQ for every candidate step, the inputs of largest variance first.

    Args:
        real: (groups, out, fan_in).
        steps: (groups, candidates, out).
        hessian: (groups, fan_in, fan_in), positive definite.
        bits: Signed bits.

    Returns:
        Integers, (groups, candidates, out, fan_in).
    """
    fan_in = real.shape[-1]
    lowest, highest = integer_range(bits)
    order = hessian.diagonal(dim1=1, dim2=2).mean(0).argsort(descending=True, stable=True)
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian[:, order][:, :, order])), upper=True)
    rest = real[:, None, :, order].expand(*steps.shape, fan_in).flatten(1, 2)
    step = steps.flatten(1)
    integers = torch.empty_like(rest)
    for start in range(0, fan_in, _BLOCK):
        stop = min(start + _BLOCK, fan_in)
        block, factor = rest[:, :, start:stop].clone(), upper[:, start:stop, start:stop]
        error = torch.empty_like(block)
        for k in range(stop - start):
            chosen = (block[:, :, k] / step).round().clamp(lowest, highest)
            error[:, :, k] = (block[:, :, k] - chosen * step) / factor[:, k, k, None]
            block[:, :, k + 1 :] -= error[:, :, k, None] * factor[:, k, None, k + 1 :]
            integers[:, :, order[start + k]] = chosen
        rest = torch.cat([rest[:, :, :stop], rest[:, :, stop:] - error @ upper[:, start:stop, stop:]], 2)
    return integers.reshape(*steps.shape, fan_in)


def _descend(real: torch.Tensor, integers: torch.Tensor, step: torch.Tensor, hessian: torch.Tensor, bits: int) -> torch.Tensor:
    """Set one integer of every output channel at a time to its best value, the others held: the error never rises.

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
    for _ in range(_SWEEPS):
        for start in range(0, fan_in, _BLOCK):
            stop = min(start + _BLOCK, fan_in)
            slope, curvature = gradient[:, :, start:stop].clone(), hessian[:, start:stop, start:stop]
            change = torch.empty_like(slope)
            for k in range(stop - start):
                now = integers[:, :, start + k]
                best = (now - slope[:, :, k] / (curvature[:, k, k, None] * step)).round().clamp(lowest, highest)
                change[:, :, k] = (best - now) * step
                slope += change[:, :, k, None] * curvature[:, k, None, :]
                integers[:, :, start + k] = best
            gradient += change @ hessian[:, start:stop]
    return integers


def _best_step(real: torch.Tensor, integers: torch.Tensor, step: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Return the step of least error for given integers; the old one where all of them are 0."""
    weighted = integers @ hessian
    power = (weighted * integers).sum(-1)
    best = (weighted * real).sum(-1) / power.clamp_min(1e-300)
    return torch.where(best > 0, best, step)
