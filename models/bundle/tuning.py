"""Puts a Speed into effect: the one place that decides who makes a network's calls on which device."""

import functools
import logging
from collections.abc import Sequence

import torch
from torch import nn

from models.engine.graphs import CudaRecorder, GraphPool
from models.engine.runners import Call, EagerRunner, MakeRunner, Runner
from models.sdxl.compiling import compile_blocks, compiled
from models.sdxl.fp8 import use_fp8
from models.sdxl.kernels import PLAIN, choose_kernel, use_kernel
from models.sdxl.speed import EAGER, Speed

log = logging.getLogger(__name__)


class Tuner:
    """Lives as long as loading. `steps` plays UNets and ControlNets, `new_decoder` what may run beside them."""

    def __init__(self, speed: Speed, device: torch.device, dtype: torch.dtype) -> None:
        self.speed = speed
        self._device = device
        self._kernel = PLAIN if speed == EAGER else choose_kernel(device, dtype)
        self.steps: MakeRunner = self._runners(whole=speed.compile == "full")

    @property
    def attention(self) -> str:
        """The chosen kernel, for people."""
        return self._kernel.name

    def new_decoder(self) -> MakeRunner:
        """A runner with memory of its own, because decoding runs on another stream than the steps."""
        return self._runners(whole=self.speed.compile != "off")

    def optimise(self, net: nn.Module) -> None:
        """Once for each UNet and ControlNet, with its LoRAs fused and before anything is recorded of it."""
        use_kernel(net, self._kernel)
        if self.speed.fp8:
            log.info("%d large products of %s in 8 bits", len(use_fp8(net)), type(net).__name__)
        if self.speed.compile == "blocks":
            compile_blocks(net)

    def _runners(self, *, whole: bool) -> MakeRunner:
        records = self.speed.graphs and self._device.type == "cuda"
        runner = functools.partial(GraphPool, recorder=CudaRecorder(self._device)) if records else EagerRunner

        def make(call: Call, modules: Sequence[nn.Module], /) -> Runner:
            return runner(compiled(call) if whole else call, modules)

        return make
