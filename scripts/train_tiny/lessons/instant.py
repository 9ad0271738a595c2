"""InstantID in small: resampler, image projection and IdentityNet, trained together with the generator."""

from dataclasses import dataclass, field

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from models.adapters.instantid.adapter import FULL_SCALE
from models.adapters.instantid.keypoints import draw_keypoints
from models.adapters.perceiver import QueryResampler, ResamplerShape
from models.sdxl.attention import ImageBatch, cross_attention_slots

EMBEDDING = 512
TOKENS = 4
JITTER = 0.04  # of the distance between the eyes: composed keypoints are nobody's own
CONDITION_CHANNELS = (8, 8, 16, 24, 32)  # halves the keypoints' picture four times, down to the latents' size


@dataclass(slots=True)
class PlacedItems:
    """The items of a batch whose person comes through InstantID, and where the face goes."""

    rows: list[int] = field(default_factory=list)  # N
    embeddings: list[Tensor] = field(default_factory=list)  # N of [512]
    landmarks: list[Tensor] = field(default_factory=list)  # N of [5, 2]


class Instant(nn.Module):
    def __init__(self, unet: UNet2DConditionModel, image_size: int) -> None:
        super().__init__()
        width = int(unet.config["cross_attention_dim"])
        shape = ResamplerShape(
            width=128, context_width=EMBEDDING, out_width=width, depth=1, heads=2, dim_head=64, ff_mult=2
        )
        self.image_size = image_size
        self.resampler = QueryResampler(shape, TOKENS)
        nn.init.normal_(self.resampler.latents, std=shape.width**-0.5)
        columns = sum(slot.stop - slot.start for _, _, slot in cross_attention_slots(unet))
        self.projection = nn.Linear(width, 2 * columns, bias=False)
        self.net = build_identity_net(unet)
        self.hint_encoder = self.net.controlnet_cond_embedding  # runs once for a picture, not for each of its timesteps
        self.net.controlnet_cond_embedding = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]

    def tokens(self, placed: PlacedItems, blur: float) -> Tensor:
        """[N, TOKENS, D]; `blur` is the spread of noise on the embeddings."""
        known = torch.stack(placed.embeddings).float()
        return self.resampler.tokens((known + blur * torch.randn_like(known))[:, None])

    def image(self, tokens: Tensor, rows: Tensor, batch: int) -> ImageBatch:
        """The image side of a batch of UNet rows, of which `rows` have a person: `tokens` [len(rows), TOKENS, D]."""
        seen = self.projection(tokens).unflatten(-1, (2, -1))  # [N, TOKENS, 2, W]
        keys_values = seen.new_zeros(batch, *seen.shape[1:]).index_put((rows,), seen)
        scale = torch.zeros(batch, 1, 1).index_fill(0, rows, FULL_SCALE)
        return ImageBatch(keys_values=keys_values, scale=scale, regions={}, mask=None)

    def hints(self, placed: PlacedItems, rng: np.random.Generator) -> Tensor:
        """Pictures of keypoints, encoded: [N, C, S / 16, S / 16]."""
        drawn = []
        for landmarks in placed.landmarks:
            points = landmarks.numpy()
            span = float(np.linalg.norm(points[1] - points[0]))
            moved = points + rng.normal(0, JITTER * span, points.shape)
            drawn.append(draw_keypoints(moved, self.image_size, self.image_size))
        return self.hint_encoder(torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255)

    def residuals(
        self, x: Tensor, timesteps: Tensor, tokens: Tensor, hints: Tensor, added: dict[str, Tensor], rows: Tensor
    ) -> list[Tensor]:
        """What IdentityNet adds to the UNet's skips and middle for `rows` of x, zeros for the others; middle last."""
        skips, middle = self.net(
            x[rows],
            timesteps[rows],
            encoder_hidden_states=tokens,
            controlnet_cond=hints,
            conditioning_scale=FULL_SCALE,
            added_cond_kwargs={name: value[rows] for name, value in added.items()},
            return_dict=False,
        )
        return [r.new_zeros(len(x), *r.shape[1:]).index_put((rows,), r) for r in (*skips, middle)]

    def net_state(self) -> dict[str, Tensor]:
        """IdentityNet's weights under the names of a ControlNet's file."""
        hint_encoder = self.hint_encoder.state_dict()
        return self.net.state_dict() | {f"controlnet_cond_embedding.{key}": t for key, t in hint_encoder.items()}

    def load_net_state(self, state: dict[str, Tensor]) -> None:
        mine = "controlnet_cond_embedding."
        self.hint_encoder.load_state_dict({k.removeprefix(mine): t for k, t in state.items() if k.startswith(mine)})
        self.net.load_state_dict({k: t for k, t in state.items() if not k.startswith(mine)})


def build_identity_net(unet: UNet2DConditionModel) -> ControlNetModel:
    """The UNet's shape with one attention, at the middle width: keypoints need little, and the bundle is small."""
    config = unet.config
    net = ControlNetModel(
        in_channels=config["in_channels"],
        block_out_channels=config["block_out_channels"],
        layers_per_block=config["layers_per_block"],
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        transformer_layers_per_block=1,
        attention_head_dim=config["attention_head_dim"],
        cross_attention_dim=config["cross_attention_dim"],
        addition_embed_type="text_time",
        addition_time_embed_dim=config["addition_time_embed_dim"],
        projection_class_embeddings_input_dim=config["projection_class_embeddings_input_dim"],
        use_linear_projection=True,
        norm_num_groups=config["norm_num_groups"],
        conditioning_embedding_out_channels=CONDITION_CHANNELS,
        controlnet_conditioning_channel_order="rgb",
    )
    net.set_attn_processor(AttnProcessor())  # the fused attention's backward is slow on a CPU
    return net
