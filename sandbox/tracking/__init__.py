"""Loggers for TensorBoard and MLflow, each an optional extra. Imports only `machine`."""

from collections.abc import Callable

from sandbox.tracking.base import Tracker
from sandbox.tracking.mlflow import MLflow
from sandbox.tracking.tensorboard import TensorBoard

TRACKERS: dict[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}

__all__ = ["TRACKERS", "MLflow", "TensorBoard", "Tracker"]
