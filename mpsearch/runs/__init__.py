# SPDX-License-Identifier: Apache-2.0
"""A run on disk: its folder, what it was asked, the trials it has evaluated."""
