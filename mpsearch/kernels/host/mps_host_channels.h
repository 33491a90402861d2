/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_HOST_CHANNELS_H
#define MPS_HOST_CHANNELS_H

#include "mps_host_kernels.h"

/* Arrays of a layer's channels copied with zeros up to `padded`, so that kernels need not look where the channels end.
   [in] sums     [channels], the sum of each channel's weights: the input's zero point is folded into the bias with it
   [out] copies  [3 * padded] */
mps_host_channels mps_host_pad_channels(const mps_host_requantize *requantize, const int32_t *sums, size_t channels, size_t padded, int32_t *copies);

/* [in] values  [channels], or NULL: zeros */
void mps_host_pad_floats(const float *values, size_t channels, size_t padded, float *copy);

#endif
