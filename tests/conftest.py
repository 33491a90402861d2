# SPDX-License-Identifier: Apache-2.0
"""What every test shares: reproducible Hypothesis, one thread for small tensors, and the folder of pretrained networks where there is one."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Never

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported, as the command line does

# The machines that run the tests are shared: a slow example is no failure, and every run tries the same examples.
settings.register_profile("mpsearch", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mpsearch")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections beyond this machine, so that no test depends on the network."""

    def refuse(*_: object) -> Never:
        raise AssertionError("a test tried to open a network connection")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of pretrained networks, or skip."""
    from mpsearch.errors import WorkloadError
    from mpsearch.workloads.data_folder import data_folder as find

    try:
        return find()
    except WorkloadError as error:
        pytest.skip(f"NO DATA FOLDER: {error}")
