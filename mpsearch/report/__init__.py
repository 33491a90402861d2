# SPDX-License-Identifier: Apache-2.0
"""What a run has to say, for a terminal (`tables`) and as one self-contained HTML page (`page`); both read a `ReportData`."""
