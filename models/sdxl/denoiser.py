"""One backbone behind one call: rows at different steps in, the network's prediction for each out."""

from collections.abc import Sequence

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from models.sdxl.conditioning import Batch, Prompt, RowConditioning, stack


class Denoiser:
    """SDXL's UNet over a batch of unrelated rows. Holds no request: every call brings all it needs."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self._unet = unet
        self.device = unet.device
        self.dtype = unet.dtype
        self.latent_channels: int = unet.config["in_channels"]

    @torch.inference_mode()
    def predict(
        self,
        latents: Tensor,
        timesteps: Tensor,
        rows: Sequence[tuple[RowConditioning, int]],
        guidance: Tensor | None = None,
    ) -> Tensor:
        """The prediction for each row, in float32 (the sampler's update cancels large terms).

        latents: [B, C, h, w] in variance-preserving coordinates, so no input scaling. timesteps: [B]. rows: each
        row's conditioning and step index. guidance: [B] scales, or None for a batch without guidance; with it the
        negative prompts run in the same call, ahead of the positive ones.
        """
        positive = [conditioning.prompt_at(step) for conditioning, step in rows]
        time_ids = [conditioning.time_ids for conditioning, _ in rows]
        if guidance is None:
            return self._unet_call(latents, timesteps, stack(positive, time_ids))
        negative = [_negative(conditioning) for conditioning, _ in rows]
        both = stack([*negative, *positive], [*time_ids, *time_ids])
        output = self._unet_call(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), both)
        against, towards = output.chunk(2)
        return against + guidance[:, None, None, None] * (towards - against)

    def _unet_call(self, latents: Tensor, timesteps: Tensor, batch: Batch) -> Tensor:
        latents = latents.to(self.dtype).contiguous(memory_format=torch.channels_last)
        (output,) = self._unet(
            latents,
            timesteps,
            encoder_hidden_states=batch.embeds,
            added_cond_kwargs={"text_embeds": batch.pooled, "time_ids": batch.time_ids},
            return_dict=False,
        )
        return output.float()


def _negative(conditioning: RowConditioning) -> Prompt:
    if conditioning.negative is None:
        raise ValueError("a guided row needs a negative prompt (zeros count as one)")
    return conditioning.negative
