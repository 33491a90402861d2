# SPDX-License-Identifier: Apache-2.0
"""Stage 3: what each group loses at each precision, estimated by a proxy. One proxy a file; PROXIES names them."""

from __future__ import annotations

from mpsearch.sensitivity.fisher import score_fisher
from mpsearch.sensitivity.output_kl import score_output_kl
from mpsearch.sensitivity.probe import Probe, Proxy
from mpsearch.sensitivity.weight_sqnr import score_weight_sqnr

PROXIES: dict[str, Proxy] = {
    "fisher": score_fisher,
    "output_kl": score_output_kl,
    "weight_sqnr": score_weight_sqnr,
}
"""Name -> proxy."""

__all__ = ["PROXIES", "Probe", "Proxy"]
