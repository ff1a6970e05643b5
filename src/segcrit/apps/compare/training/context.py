"""What all trainings of a run share, and how one of them is put together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from segcrit.apps.compare.batches.source import Source
from segcrit.apps.compare.run_directory import LossPlan, RunDirectory
from segcrit.apps.compare.settings import Compute, Settings
from segcrit.apps.compare.training.checkpoints import WholeCheckpoints, load_weights, read_tensors
from segcrit.apps.compare.training.inference import Predictor
from segcrit.apps.compare.training.module import Loaders, Trainee
from segcrit.apps.compare.training.networks import Network
from segcrit.core import atomic
from segcrit.core.errors import ParameterError
from segcrit.core.progress import Reporter
from segcrit.losses.criterion import Criterion
from segcrit.metrics.evaluator import Evaluator

__all__ = ["Context", "is_first_process"]


def is_first_process() -> bool:
    """Whether this process writes files and speaks; torchrun, SLURM and Lightning start the others."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def started_by_launcher() -> bool:
    """Whether several processes were started from outside."""
    return any(int(os.environ.get(name, "1") or 1) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS"))


@dataclass
class Context:
    """A comparison: data, network, settings, folder."""

    source: Source
    network: Network
    settings: Settings
    compute: Compute
    directory: RunDirectory
    reporter: Reporter
    predictor: Predictor
    save_predictions: bool = False
    passport: dict[str, Any] = field(default_factory=dict)

    def criterion(self, expression: str, world: int = 1) -> Criterion:
        """The loss of an expression whose words are resolved."""
        return Criterion(
            expression,
            task=self.settings.task,
            num_classes=self.num_outputs,
            ignore_index=self.source.info.criterion_ignore_index,
            upsample="linear",
            process_group="world" if world > 1 else None,
        )

    @property
    def num_outputs(self) -> int:
        """Channels of the network's logits."""
        return 1 if self.settings.task == "binary" else self.source.info.num_classes

    @property
    def background(self) -> int | None:
        """The class that figures of the foreground leave out: of a binary task always 0, of a multilabel task none."""
        return {"binary": 0, "multilabel": None}.get(self.settings.task, self.source.info.background)

    def evaluator(self) -> Evaluator:
        """A new evaluator for this data."""
        info = self.source.info
        binary = self.settings.task == "binary"
        return Evaluator(
            self.num_outputs,
            task=self.settings.task,
            ignore_index=info.criterion_ignore_index,
            class_names=None if binary else [entry.name for entry in info.classes],
            background=self.background,
        )

    def initial_network(self, seed: int) -> nn.Module:
        """The network with the weights that every loss starts from with this seed.

        Raises:
            DataError: the stored weights do not fit the network.
        """
        network = self.network.build(seed)
        path = self.directory.initial_weights(seed)
        if path.exists():
            what = "the initial weights of the run's network"
            weights = read_tensors(path, what, "Restore the file, or start a new run.")
            advice = "Give the same model and the same version of its library, or start a new run."
            load_weights(network, weights, f"{what} in {path}", advice, prefix="")
        return network

    def store_initial_weights(self) -> None:
        """Keep the initial weights of every seed, so that losses added later start from the same ones."""
        for seed in self.settings.seeds:
            path = self.directory.initial_weights(seed)
            if not path.exists():
                state = self.network.build(seed).state_dict()
                with atomic.atomic_path(path) as temporary:
                    torch.save(state, temporary)

    def trainee(
        self, loss: LossPlan, seed: int, learning_rate: float, lengths: Sequence[int], world: int, share: int = 1
    ) -> Trainee:
        """The module of one training.

        Args:
            loss: what it learns under.
            seed: of weights and batches.
            learning_rate: peak of the schedule.
            lengths: steps of every epoch.
            world: processes that train.
            share: train on this fraction of each batch, as one of so many processes would (for measurements).
        """

        def train(epoch: int, rank: int, processes: int) -> Any:
            return self.source.train_loader(seed, epoch, lengths, rank, max(processes, share))

        return Trainee(
            self.initial_network(seed),
            self.criterion(loss.resolved, world),
            self.settings,
            lengths=lengths,
            learning_rate=learning_rate,
            loaders=Loaders(
                train,
                partial(self.source.eval_loader, "val"),
                partial(self.source.eval_loader, "test"),
                getattr(self.source, "after_transfer", None),
            ),
            predictor=self.predictor,
            evaluator=self.evaluator,
            seed=seed,
            background=self.background,
            channels_last=self.network.channels_last,
            passport=self.passport | {"loss": loss.resolved, "seed": seed},
        )

    def trainer(
        self,
        steps: int,
        callbacks: list[lightning.Callback],
        *,
        logger: TensorBoardLogger | None = None,
        single: bool = False,
        **options: Any,
    ) -> lightning.Trainer:
        """Lightning's trainer for so many steps.

        Args:
            steps: after which it stops.
            callbacks: with a ModelCheckpoint where the training is kept.
            logger: TensorBoard, or None.
            single: use one device only, whatever the settings say (for measurements).
            options: further arguments of the Trainer.
        """
        compute = self.compute
        on_gpu = compute.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        keeps = any(isinstance(callback, lightning.callbacks.ModelCheckpoint) for callback in callbacks)
        arguments: dict[str, Any] = {
            "accelerator": compute.accelerator,
            "devices": 1 if single else self._devices(),
            "num_nodes": 1 if single else compute.num_nodes,
            "strategy": "auto" if single else compute.strategy,
            "precision": self.settings.precision,
            "max_steps": steps,
            "gradient_clip_val": self.settings.gradient_clip or None,
            # Every epoch asks for its batches anew, which is what makes them depend on seed and epoch alone.
            "reload_dataloaders_every_n_epochs": 1,
            "use_distributed_sampler": False,
            "sync_batchnorm": on_gpu and not single,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": max(1, steps // 200),
            "logger": logger or False,
            "enable_checkpointing": keeps,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(self.directory.path),
            "callbacks": callbacks,
            "plugins": [WholeCheckpoints()],
        }
        try:
            return lightning.Trainer(**arguments | options)
        except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
            raise ParameterError(
                "an accelerator, devices, strategy and precision that this machine has",
                f"{error}".splitlines()[0].rstrip(".!"),
                "Correct --accelerator, --devices, --strategy or --precision.",
            ) from error

    def _devices(self) -> int | str | list[int]:
        # On a CPU "auto" means one process that uses all cores.
        devices = self.compute.devices
        if isinstance(devices, str) and devices.isdecimal():
            return int(devices)
        if isinstance(devices, str) and "," in devices:
            parts = [part.strip() for part in devices.split(",") if part.strip()]
            if not parts or not all(part.isdecimal() for part in parts):
                raise ParameterError(
                    "devices as a number, or as a list such as 0,2", repr(devices), "Correct --devices."
                )
            return [int(part) for part in parts]
        return devices

    def world_size(self) -> int:
        """Number of processes that will train."""
        return int(self.trainer(1, []).world_size)
