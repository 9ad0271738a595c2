"""A ControlNet over a batch of unrelated rows: what it adds to the UNet's skips, each row at its own scale.

ControlNet: arXiv 2302.05543. InstantID's IdentityNet is one whose cross-attention reads face tokens, never the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor, nn

from models.engine.runners import Calls, EagerRunner, Inputs, MakeRunner, Outputs
from models.sdxl.attention import install_attention, keys_values_of
from models.sdxl.region import Region

_GUESS_FROM = -1  # decimal logarithm of the shallowest residual's weight in guess mode; the deepest's is 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control image of one row. What doesn't depend on the step, `ControlNet.hint` and `.context` make once."""

    net: str  # which of the denoiser's nets
    hint: Tensor  # [C, h, w]
    context: Tensor  # [T, 2, W], keys and values for the net's cross-attention
    scale: float
    steps: range  # in which it acts
    guess: bool = False  # weigh shallow residuals less
    region: Region | None = None


class ControlNet:
    """Keeps nothing of an order: every call brings all it needs."""

    def __init__(self, net: ControlNetModel, *, make_runner: MakeRunner = EagerRunner) -> None:
        """Takes the net over: its hint encoder runs apart from the rest, which `make_runner` plays."""
        self._hint_encoder = net.controlnet_cond_embedding
        net.controlnet_cond_embedding = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self._flipped = net.config["controlnet_conditioning_channel_order"] == "bgr"
        net.register_to_config(controlnet_conditioning_channel_order="rgb")  # a hint is no image: nothing to flip
        install_attention(net)
        self._net = net
        self._num_residuals = len(net.controlnet_down_blocks) + 1
        self.calls = Calls(make_runner(self._forward, [net]))

    def modules(self) -> list[nn.Module]:
        return [self._net, self._hint_encoder]

    @torch.inference_mode()
    def hint(self, image: Tensor) -> Tensor:
        """A control image [H, W, 3] uint8 -> [C, h, w]."""
        pixels = (image.to(self._net.device).permute(2, 0, 1)[None] / 255).to(self._net.dtype)
        return self._hint_encoder(pixels.flip(1) if self._flipped else pixels)[0]

    @torch.inference_mode()
    def context(self, tokens: Tensor) -> Tensor:
        """What the net's cross-attention is to read, face tokens or a prompt's [T, D] -> [T, 2, W]."""
        return keys_values_of(self._net, tokens)

    def residuals(
        self,
        latents: Tensor,
        timesteps: Tensor,
        pooled: Tensor,
        time_ids: Tensor,
        controls: Sequence[Control],
    ) -> list[Tensor]:
        """One [B, C_i, h_i, w_i] for each skip, the middle's last. latents: [B, C, h, w], the rest [B, ...] too."""
        hints = torch.stack([control.hint for control in controls])
        # Before the call, because a copy to a GPU waits for all that it was given before.
        scales = _scales(controls, self._num_residuals).to(latents.device, latents.dtype)  # [B, residuals]
        residuals = self.calls(
            {
                "latents": latents,
                "timesteps": timesteps,
                "pooled": pooled,
                "time_ids": time_ids,
                "hints": hints.contiguous(memory_format=torch.channels_last),
                "context": torch.stack([control.context for control in controls]),
            }
        )
        scaled = [residual * scales[:, i, None, None, None] for i, residual in enumerate(residuals)]
        if all(control.region is None for control in controls):
            return scaled
        return [residual * _planes(controls, residual) for residual in scaled]

    def _forward(self, inputs: Inputs) -> Outputs:
        """The net on named tensors alone; each skip, then the middle."""
        skips, middle = self._net(
            inputs["latents"],
            inputs["timesteps"],
            encoder_hidden_states=None,
            cross_attention_kwargs={"context": inputs["context"]},
            controlnet_cond=inputs["hints"],
            added_cond_kwargs={"text_embeds": inputs["pooled"], "time_ids": inputs["time_ids"]},
            return_dict=False,
        )
        return (*skips, middle)


def _scales(controls: Sequence[Control], num_residuals: int) -> Tensor:
    growing = torch.logspace(_GUESS_FROM, 0, num_residuals)
    even = torch.ones(num_residuals)
    return torch.stack([control.scale * (growing if control.guess else even) for control in controls])


def _planes(controls: Sequence[Control], like: Tensor) -> Tensor:
    """[B, 1, h, w]; ones for rows without a region."""
    height, width = like.shape[-2:]
    everywhere = like.new_ones(1, height, width)
    return torch.stack(
        [everywhere if c.region is None else c.region.planes[height, width].to(like.dtype) for c in controls]
    )
