# SPDX-License-Identifier: Apache-2.0
"""Memory plan, kernel choice, C emitter, the bundle on disk, and running it on the host."""
