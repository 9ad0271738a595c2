"""Decodes a finished latent to a picture on the host: synchronously, or while other rows are stepped."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.engine.backbone import Decodes


class Decoding(Protocol):
    """One picture on its way to the host."""

    @property
    def is_done(self) -> bool:
        """Whether `pixels` would return without waiting."""
        ...

    def pixels(self) -> Tensor:
        """Wait for the picture: [H, W, 3] uint8 on the CPU. Raises what the device raises."""
        ...

    @property
    def seconds(self) -> float:
        """How long decoding took, once it is done; on a GPU, time shared with steps counts in full."""
        ...


StartDecoding = Callable[[Tensor], Decoding]  # one latent [C, h, w]


def decoding_on(device: torch.device, decoder: Decodes) -> StartDecoding:
    """Decode on a second stream on a GPU, where decoding is a quarter of a picture's work; elsewhere synchronously.

    To be called once for each decoder.
    """
    return _Beside(decoder, device) if device.type == "cuda" else at_once(decoder)


@dataclass(frozen=True, slots=True)
class _Done:
    picture: Tensor
    seconds: float
    is_done: bool = True

    def pixels(self) -> Tensor:
        return self.picture


def at_once(decoder: Decodes) -> StartDecoding:
    def start(latent: Tensor) -> Decoding:
        began = time.perf_counter()
        picture = decoder.decode(latent[None])[0].cpu()
        return _Done(picture, time.perf_counter() - began)

    return start


@dataclass(frozen=True, slots=True)
class _UnderWay:
    host: Tensor  # pinned
    began: torch.cuda.Event
    ended: torch.cuda.Event

    @property
    def is_done(self) -> bool:
        return self.ended.query()

    def pixels(self) -> Tensor:
        self.ended.synchronize()
        return self.host

    @property
    def seconds(self) -> float:
        return self.began.elapsed_time(self.ended) / 1000


class _Beside:
    """Decodes one picture after another on a stream of its own. A decoding that nobody needs may be dropped."""

    def __init__(self, decoder: Decodes, device: torch.device) -> None:
        self._decoder = decoder
        self._stream = torch.cuda.Stream(device)

    @torch.inference_mode()
    def __call__(self, latent: Tensor) -> Decoding:
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(self._stream):
            began.record()
            latent.record_stream(self._stream)  # its memory is not reused before this stream has read it
            picture = self._decoder.decode(latent[None])[0]
            host = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
            host.copy_(picture, non_blocking=True)
            ended.record()
        return _UnderWay(host, began, ended)
