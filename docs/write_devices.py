# SPDX-License-Identifier: Apache-2.0
"""Writes docs/devices.md from the files in hw_models/."""

from __future__ import annotations

from pathlib import Path

from mpsearch.catalog import list_names, load_hardware_model
from mpsearch.report.device_list import device_list


def main() -> None:
    """Write the page."""
    text = device_list(load_hardware_model(name) for name in list_names("hw_models"))
    Path(__file__).with_name("devices.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
