"""Training processes over the nodes of a Ray cluster, started by Ray Train; each runs the same training as ever."""

import os
from pathlib import Path
from typing import Any

import msgspec

from rft.errors import StageError
from rft.pools.cluster import connected, ray_says
from rft.train.process import Spec, lost

START_TRIES = 3
"""How often it is waited for a minute that the cluster has room for every process."""


def train_across(spec: Spec) -> None:
    """Train in `spec.workers` processes placed as `spec.ray` says. The stage's folder is one that every node sees.

    Raises StageError when one of them is lost or the cluster has no room; a rank's own reason is in `error.json`.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

    assert spec.ray is not None
    with connected(spec.address, ship=False, cores=2 * spec.workers):
        trainer = TorchTrainer(
            _rank,
            train_loop_config={"spec": msgspec.json.encode(spec), "place": str(Path.cwd())},
            torch_config=TorchConfig(backend="nccl" if spec.ray.get("use_gpu") else "gloo"),
            scaling_config=ScalingConfig(**{"placement_strategy": "SPREAD", **spec.ray, "num_workers": spec.workers}),
            run_config=RunConfig(
                name="ray",
                storage_path=str(Path(spec.folder, "trainer").resolve()),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=START_TRIES),
            ),
        )
        try:
            trainer.fit()
        except ControllerError as error:
            raise StageError(
                f"train: the cluster does not start {spec.workers} processes with {spec.ray or 'a core each'}: "
                f"{_first(error.controller_failure)}. Look at `ray status`; mend train.ray or train.workers."
            ) from None
        except TrainingFailedError as error:
            raise lost(_first(error)) from None


def _rank(given: dict[str, Any]) -> None:
    """One process, in the environment that Ray Train has prepared: its rank, the others, the group that joins them."""
    from rft.train.training import train
    from rft.train.worker import complaining

    os.chdir(given["place"])
    spec = msgspec.json.decode(given["spec"], type=Spec)
    with complaining(spec):
        train(spec)


def _first(error: BaseException) -> str:
    """Why, in a line: of a lost process where one is named."""
    causes = getattr(error, "worker_failures", None) or {0: error}
    return ray_says(next(iter(causes.values()))).rstrip(".")
