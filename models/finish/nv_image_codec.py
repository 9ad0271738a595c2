"""JPEGs by a GPU's own encoder, through NVIDIA's nvImageCodec."""

import importlib
from typing import Any

import torch
from torch import Tensor

from models.finish.jpeg import FINEST_HALVED


class NvImageCodec:
    """NVIDIA's nvImageCodec (the `gpu` extra): nvJPEG on a GPU; on a CPU a codec of its own. One thread at a time."""

    def __init__(self, device: torch.device) -> None:
        """Raises ImportError where it is not installed, and RuntimeError where it finds no such device."""
        self._device = device
        self._library: Any = importlib.import_module("nvidia.nvimgcodec")
        kinds = self._library.BackendKind
        if device.type == "cuda":
            number, allowed = device.index or 0, (kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)
        else:
            number, allowed = self._library.NVIMGCODEC_DEVICE_CPU_ONLY, (kinds.CPU_ONLY,)
        backends = [self._library.Backend(kind) for kind in allowed]
        self._encoder = self._library.Encoder(device_id=number, max_num_cpu_threads=1, backends=backends)

    def __call__(self, pixels: Tensor, quality: int) -> bytes:
        """pixels [H, W, 3] uint8, quality 1-100. Raises RuntimeError when it can't."""
        library = self._library
        sampling = library.ChromaSubsampling
        wanted = library.EncodeParams(
            quality_type=library.QualityType.QUALITY,
            quality_value=quality,
            chroma_subsampling=sampling.CSS_420 if quality <= FINEST_HALVED else sampling.CSS_444,
        )
        on_gpu = self._device.type == "cuda"
        stream = torch.cuda.current_stream(self._device).cuda_stream if on_gpu else 0
        placed = pixels.to(self._device).contiguous()
        image = library.as_image(placed if on_gpu else placed.numpy(), stream)
        encoded = self._encoder.encode(image, "jpeg", params=wanted, cuda_stream=stream)
        if encoded is None:
            raise RuntimeError("nvImageCodec made no JPEG")
        return bytes(encoded)
