"""One backbone behind one call: rows at different steps in, the network's prediction for each out."""

import contextlib
from collections.abc import Generator, Mapping, Sequence

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from models.engine.runners import Calls, EagerRunner, Inputs, MakeRunner, Outputs
from models.sdxl.attention import image_batch, install_attention
from models.sdxl.conditioning import Batch, Branch, RowConditioning, stack
from models.sdxl.contexts import Contexts
from models.sdxl.control import Control, ControlNet
from models.sdxl.lora_choice import LoraApplier, LoraChoice, apply_lora

PLAIN = "plain"  # the UNet that has no adapter's LoRA in it
_RESIDUAL = "residual."


class Denoiser:
    """SDXL's UNet, and the ControlNets beside it, over a batch of unrelated rows.

    Keeps nothing of an order: every call brings all it needs. Adapters that need no LoRA of their own share one; rows
    of all of them, and rows without any, then share its calls.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        *,
        name: str = PLAIN,
        nets: Mapping[str, ControlNet] | None = None,
        lora_applier: LoraApplier | None = None,
        make_runner: MakeRunner = EagerRunner,
    ) -> None:
        """`name` tells UNets of one bundle apart. Rows may ask for `nets`, and for LoRAs to be applied.

        The runner that is made here is asked to record what it sees inside `recording`.
        """
        install_attention(unet)
        self._unet = unet
        self._lora_applier = lora_applier
        self.nets = dict(nets or {})
        self._contexts = Contexts(unet)
        self._calls = Calls(make_runner(self._forward, [unet]))
        self.name = name
        self.device = unet.device
        self.dtype = unet.dtype
        self.latent_channels: int = unet.config["in_channels"]

    def modules(self) -> list[nn.Module]:
        """The UNet; a net belongs to the adapter that asks for it."""
        return [self._unet]

    @contextlib.contextmanager
    def recording(self) -> Generator[None]:
        """The time in which every new shape is recorded, the nets' too."""
        with contextlib.ExitStack() as all_of_them:
            for calls in (self._calls, *(net.calls for net in self.nets.values())):
                all_of_them.enter_context(calls.recording())
            yield

    def forget(self) -> None:
        """Leave nothing of the rows that were."""
        for calls in (self._calls, *(net.calls for net in self.nets.values())):
            calls.forget()

    @property
    def num_recordings(self) -> int:
        return self._calls.num_recordings + sum(net.calls.num_recordings for net in self.nets.values())

    @torch.inference_mode()
    def predict(
        self,
        latents: Tensor,
        timesteps: Tensor,
        rows: Sequence[tuple[RowConditioning, int]],
        guidance: Tensor | None = None,
        lora: LoraChoice | None = None,
    ) -> Tensor:
        """The prediction for each row, in float32 (the sampler's update cancels large terms).

        latents: [B, C, h, w] in variance-preserving coordinates, so no input scaling. timesteps: [B]. rows: each
        row's conditioning and step index. guidance: [B] scales, or None for a batch without guidance; with it the
        negative prompts run in the same call, ahead of the positive ones. lora: what all of them want on the weights.
        """
        if apply_lora(self._lora_applier, lora):
            self._calls.check_recordings()
        positive = [conditioning.towards(step) for conditioning, step in rows]
        if guidance is None:
            return self._unet_call(latents, timesteps, positive, lora)
        negative = [conditioning.against(step) for conditioning, step in rows]
        output = self._unet_call(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), [*negative, *positive], lora)
        against, towards = output.chunk(2)
        return against + guidance[:, None, None, None] * (towards - against)

    def _unet_call(
        self, latents: Tensor, timesteps: Tensor, branches: Sequence[Branch], lora: LoraChoice | None
    ) -> Tensor:
        batch = stack(branches)
        latents = latents.to(self.dtype).contiguous(memory_format=torch.channels_last)
        residuals = self._residuals(latents, timesteps, branches, batch)
        inputs = {
            "latents": latents,
            "timesteps": timesteps,
            "context": self._contexts.stack([branch.prompt for branch in branches], lora),
            "pooled": batch.pooled,
            "time_ids": batch.time_ids,
            **(batch.image.tensors() if batch.image is not None else {}),
            **{f"{_RESIDUAL}{i:02}": residual for i, residual in enumerate(residuals)},
        }
        return self._calls(inputs)[0].float()

    def _forward(self, inputs: Inputs) -> Outputs:
        """The UNet on named tensors alone, so that a recording of it can be given others."""
        residuals = tuple(inputs[name] for name in sorted(inputs) if name.startswith(_RESIDUAL))
        return self._unet(
            inputs["latents"],
            inputs["timesteps"],
            encoder_hidden_states=None,
            added_cond_kwargs={"text_embeds": inputs["pooled"], "time_ids": inputs["time_ids"]},
            cross_attention_kwargs={"context": inputs["context"], "image": image_batch(inputs)},
            down_block_additional_residuals=residuals[:-1] or None,
            mid_block_additional_residual=residuals[-1] if residuals else None,
            return_dict=False,
        )

    def _residuals(
        self, latents: Tensor, timesteps: Tensor, branches: Sequence[Branch], batch: Batch
    ) -> tuple[Tensor, ...]:
        """What the nets add to the UNet's skips and middle, summed; zeros for rows without. () if no row has any.

        A net runs once, on the rows that ask for it at their present step, and on no other.
        """
        wanted: dict[str, list[tuple[int, Control]]] = {}
        for row, branch in enumerate(branches):
            for control in branch.controls:
                wanted.setdefault(control.net, []).append((row, control))
        sums: list[Tensor] = []
        for name, entries in wanted.items():
            rows = torch.tensor([row for row, _ in entries], device=latents.device)
            residuals = self.nets[name].residuals(
                latents[rows],
                timesteps[rows],
                batch.pooled[rows],
                batch.time_ids[rows],
                [control for _, control in entries],
            )
            sums = sums or [_nothing(residual, len(branches)) for residual in residuals]
            sums = [total.index_add(0, rows, r) for total, r in zip(sums, residuals, strict=True)]
        return tuple(sums)


def _nothing(like: Tensor, rows: int) -> Tensor:
    return like.new_zeros(rows, *like.shape[1:]).contiguous(memory_format=torch.channels_last)
