"""A trained network with its plan, ready to make maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch

from napari_bcp.config import TrainConfig
from napari_bcp.engine import checkpoint
from napari_bcp.engine.device import available_cores, bfloat16_crawls, is_lost, out_of_memory, pick_device
from napari_bcp.engine.plan import Plan
from napari_bcp.engine.predict import memory_format, network_of, predict_scan
from napari_bcp.errors import BcpError, CheckpointError, DeviceError, DeviceLostError
from napari_bcp.events import MapMade
from napari_bcp.scans import read_scan, write_mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from napari_bcp.engine.predict import Prediction
    from napari_bcp.scans import Scan


@dataclass(frozen=True, eq=False)
class Model:
    """What is needed to segment a scan.

    run, step : which run's network it is, and after how many steps.  unlabelled : scans without a mask that the
    run had at hand, as far as a checkpoint tells
    """

    network: nn.Module
    plan: Plan
    config: TrainConfig
    device: torch.device
    run: str
    step: int
    unlabelled: int = 0

    @classmethod
    def load(cls, path: Path, device: str) -> Self:
        """Read a checkpoint; where the newest or the best of a run cannot be read, the one before it.

        Sets the number of torch's threads, to no more than this computer has cores.
        Raises CheckpointError, and DeviceError for a device that is not there.
        """
        try:
            newest = path.name == checkpoint.LAST
            content = checkpoint.load_newest(path.parent) if newest else checkpoint.load(path)
        except CheckpointError:
            if path.name != checkpoint.BEST:
                raise
            content = checkpoint.load_newest(path.parent)
        return cls._from(content, pick_device(device))

    @classmethod
    def _from(cls, content: dict[str, Any], device: torch.device) -> Self:
        try:
            plan = Plan.model_validate_json(content["plan"])
            config = TrainConfig.model_validate_json(content["config"])
            run, step = str(content["run"]), int(content["step"])
            network = network_of(plan)
            network.load_state_dict(content[content["use"]])
            unlabelled = len(content.get("order", {}).get("unlabelled", ()))
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, BcpError):
            raise CheckpointError("The checkpoint holds no network that fits its plan; train again.") from None
        if device.type == "cpu":
            torch.set_num_threads(min(config.threads or available_cores(), available_cores()))
        form = memory_format(plan, config.channels_last)
        network = network.to(device=device, memory_format=form)  # type: ignore[call-overload]
        return cls(network, plan, config, device, run, step, unlabelled)

    def segment(self, scan: Scan, stop: Callable[[], bool] | None = None) -> Prediction | None:
        """Segment one scan; None when `stop` said so in between.

        Where memory runs out, it is tried again block by block, and the prediction's note says so. Raises DeviceError
        when that does not help.
        """
        for sparing in (False, True):
            try:
                found = self._segment(scan, stop, sparing)
            except (MemoryError, RuntimeError) as error:
                if is_lost(error):
                    raise DeviceLostError(
                        f"Device {self.device} has failed on {scan.path.name} ({str(error).splitlines()[0]}); try "
                        "again, and restart the computer if it happens again."
                    ) from error
                if not out_of_memory(error):
                    raise
            else:
                if found is not None and sparing:
                    found.note = f"The memory ran out on {scan.path.name}, so it was segmented in small blocks."
                return found
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        raise DeviceError(
            f"Device {self.device} ran out of memory on {scan.path.name}, and small blocks did not help; close other "
            "programs, or choose the device cpu.",
            path=scan.path,
        )

    def _segment(self, scan: Scan, stop: Callable[[], bool] | None, sparing: bool) -> Prediction | None:
        return predict_scan(
            self.network,
            self.plan,
            scan,
            device=self.device,
            # It may have been trained on another computer, where this pays.
            bfloat16=self.plan.bfloat16_on(self.device) and not bfloat16_crawls(self.device),
            components=self.config.map_components,
            connectivity=self.config.connectivity,
            sparing=sparing,
            stop=stop,
        )

    def make_map(self, case: str, file: Path, folder: Path, stop: Callable[[], bool] | None = None) -> MapMade | None:
        """Segment the scan in `file` and write map and pseudo-label into `folder`; None when `stop` said so.

        Raises ScanError for a scan that cannot be used, DeviceError when memory runs out, OSError as the file system
        does.
        """
        if stop is not None and stop():
            return None
        scan = read_scan(file)
        found = self.segment(scan, stop)
        if found is None:
            return None
        name = f"run{self.run}-step{self.step:07d}"
        map_path, pseudo_path = folder / f"{name}.map.b2nd", folder / f"{name}.pseudo.nii.gz"
        found.map.save(map_path, {"run": self.run, "step": self.step})
        write_mask(pseudo_path, found.labels, scan.grid)
        return self.event(case, map_path, pseudo_path, found)

    def event(self, case: str, map_path: Path, pseudo_path: Path, found: Prediction) -> MapMade:
        """Return the event that reports a map."""
        return MapMade(
            case=case,
            run=self.run,
            step=self.step,
            map_path=str(map_path),
            pseudo_path=str(pseudo_path),
            quality=found.quality,
            entropy=found.entropy,
            volume_ml=found.volume_ml,
            islands={v: len(sizes) for v, sizes in found.islands.items()},
            seconds=found.seconds,
            note=found.note,
        )
