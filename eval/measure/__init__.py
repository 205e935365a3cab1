"""Measurements on the forms of one network: accuracy, spikes, operations, gradients. Metrics are found by name."""

from typing import TYPE_CHECKING

from ...toolkit.registry import Registry

if TYPE_CHECKING:
    from .metrics import FormMetric

METRICS: "Registry[type[FormMetric]]" = Registry(
    "metric",
    __name__,
    {
        "accuracy": "metrics:Accuracy",
        "spike rate": "metrics:SpikeRate",
        "synaptic operations": "metrics:SynapticOperations",
        "MAE": "qualities:MeanAbsoluteError",
        "PSNR": "qualities:PSNR",
        "SSIM": "qualities:SSIM",
        "accuracy of all steps": "by_step:StepAccuracy",
        "balanced accuracy": "by_step:BalancedAccuracy",
    },
    base="metrics:FormMetric",
)
