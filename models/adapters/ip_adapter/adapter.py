"""IP-Adapter plus-face (arXiv 2308.06721): pictures of a face beside the text, and no face recogniser at all.

CLIP sees the aligned face; a resampler makes 16 tokens of what it saw, and every cross-attention of the UNet reads
them beside the text. Weights: `h94/IP-Adapter`, Apache-2.0, with OpenCLIP's ViT-H/14 image encoder, MIT.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from models.adapters.adapter import Identity, Scene, Size, TokenShape
from models.adapters.clip_pixels import clip_pixels
from models.adapters.decoupled import ImageProjection
from models.adapters.ip_adapter.image_encoder import ImageEncoder
from models.adapters.ip_adapter.spec import NAME
from models.adapters.perceiver import QueryResampler
from models.adapters.text_prompt import check_prompts, text_conditioning
from models.faces.align import aligned
from models.faces.face import Face
from models.sdxl.attention import ImagePrompt
from models.sdxl.conditioning import RowConditioning
from models.sdxl.text import TextEncoders
from models.wire.picture import Picture

# What the weights were trained on: the face laid on ArcFace's template at twice its size, which is insightface's
# `norm_crop` at 224 (the authors' wiki, "IP-Adapter-Face").
CROP_SIZE = 224


class IPAdapter:
    """Owns the image encoder, the resampler and the projection; shares the text encoders. Keeps nothing of an order."""

    name = NAME
    face_space: str | None = None
    takes_pose = False
    spoiled_sizes = frozenset[Size]()

    def __init__(
        self, encoder: ImageEncoder, resampler: QueryResampler, projection: ImageProjection, text: TextEncoders
    ) -> None:
        self._encoder = encoder
        self._resampler = resampler
        self._projection = projection
        self._text = text
        self._nobody_seen = projection(self.tokens_of(torch.zeros(1, 3, encoder.image_size, encoder.image_size)))

    def modules(self) -> list[nn.Module]:
        return [self._encoder, self._resampler, self._projection]

    @property
    def tokens(self) -> TokenShape:
        out, queries = self._resampler.proj_out, self._resampler.latents.shape[1]
        return TokenShape(queries, out.out_features, out.weight.dtype, out.weight.device)

    @torch.inference_mode()
    def tokens_of(self, pixels: Tensor) -> Tensor:
        """CLIP-normalised pictures [N, 3, S, S] -> [N * 16, D]. All zeros (a grey picture) stand for nobody."""
        weight = self._resampler.proj_in.weight
        seen = self._encoder(pixels.to(weight.device, weight.dtype))
        return self._resampler.tokens(seen).flatten(0, 1)

    def identity(self, selfies: Sequence[Picture], faces: Sequence[Face]) -> Identity:
        """All selfies' tokens side by side: attention reads from each what it finds there."""
        crops = [face_crop(selfie, face) for selfie, face in zip(selfies, faces, strict=True)]
        pixels = torch.stack([clip_pixels(crop, self._encoder.image_size) for crop in crops])
        return Identity(self.tokens_of(pixels))

    def check_scene(self, scene: Scene, num_selfies: int) -> None:
        """Raises PromptTooLong."""
        check_prompts(self._text, scene)

    @torch.inference_mode()
    def condition(self, identity: Identity, scene: Scene) -> RowConditioning:
        """Strength is the image prompt's scale; 0 adds nothing, the row is then one of the plain model's."""
        plain = text_conditioning(self._text, scene)
        if not scene.sampling.strength:
            return plain
        image = ImagePrompt(self._projection(identity.tokens), scene.sampling.strength)
        nobody = ImagePrompt(self._nobody_seen, scene.sampling.strength)
        return replace(plain, image=image, negative_image=nobody if scene.sampling.is_guided else None)


def face_crop(selfie: Picture, face: Face) -> Picture:
    """The face upright, filling a square; averaged where it shrinks by much, because CLIP would see the aliases."""
    pixels = np.frombuffer(selfie.pixels, np.uint8).reshape(selfie.height, selfie.width, 3)
    crop = aligned(pixels, face.landmarks, CROP_SIZE, smooth=True)
    return Picture(width=CROP_SIZE, height=CROP_SIZE, rgb=crop.tobytes())
