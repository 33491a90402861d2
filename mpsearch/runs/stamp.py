# SPDX-License-Identifier: Apache-2.0
"""Digests of everything a request names, so that a run is resumed only where nothing has changed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from mpsearch.catalog import load_search_space
from mpsearch.cost.measured_device import load_target
from mpsearch.records import digest_of
from mpsearch.runs.request import RunRequest
from mpsearch.workloads.workload import Workload


def stamped(request: RunRequest, workload: Workload) -> RunRequest:
    """Return a request with the digests of everything it names: two runs of equal requests do the same."""
    return replace(
        request,
        workload_digest=workload_digest(workload),
        target_digest=digest_of(load_target(request.target)),
        space_digest=digest_of(load_search_space(request.space)),
    )


def workload_digest(workload: Workload) -> str:
    """Return the SHA-256 of the model's weights by name, the metric, and the calibration and evaluation data."""
    hasher = hashlib.sha256(f"{workload.metric_name} ".encode())
    if callable(workload.metric):
        hasher.update(getattr(getattr(workload.metric, "__code__", None), "co_code", b""))
    batches = [*workload.calibration, *(item for pair in workload.evaluation for item in pair)]
    tensors = [("data", tensor) for batch in batches for tensor in (batch if isinstance(batch, tuple) else (batch,))]
    for name, tensor in (*workload.model.state_dict().items(), *tensors):
        hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        hasher.update(tensor.detach().contiguous().numpy().tobytes())
    return hasher.hexdigest()
