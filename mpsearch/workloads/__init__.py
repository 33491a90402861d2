# SPDX-License-Identifier: Apache-2.0
"""Model + data + metric, ready to optimise.

`WORKLOADS` gives the home of each built-in as "module:function[:argument]", so that listing the names imports no torch.
"""

from __future__ import annotations

WORKLOADS = {
    "digits": "mpsearch.workloads.digits:digits",
    "cifar10_resnet20": "mpsearch.workloads.data_folder:from_data_folder:cifar10_resnet20",
    "imagenet_mobilenetv1_025_128": "mpsearch.workloads.data_folder:from_data_folder:imagenet_mobilenetv1_025_128",
    "kws_dscnn_mlperf": "mpsearch.workloads.data_folder:from_data_folder:kws_dscnn_mlperf",
    "kws_dscnn_s": "mpsearch.workloads.data_folder:from_data_folder:kws_dscnn_s",
    "kws_lstm_m": "mpsearch.workloads.data_folder:from_data_folder:kws_lstm_m",
    "mnist_resnet_tinymaix": "mpsearch.workloads.data_folder:from_data_folder:mnist_resnet_tinymaix",
    "lm_stories260k": "mpsearch.workloads.data_folder:from_data_folder:lm_stories260k",
    "charlstm_bronte": "mpsearch.workloads.data_folder:from_data_folder:charlstm_bronte",
}

DEFAULT_WORKLOAD = "digits"
