"""InstantID (arXiv 2401.07519): a face embedding beside the text, and a ControlNet that places the face.

Two channels carry the person: tokens made of the embedding, which every cross-attention of the UNet reads beside the
text, and IdentityNet, a ControlNet over a picture of five keypoints whose own cross-attention reads those tokens alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from models.adapters.adapter import Identity, Pose, Scene, TokenShape
from models.adapters.decoupled import ImageProjection
from models.adapters.instantid.framing import Placed, place
from models.adapters.instantid.keypoints import draw_keypoints
from models.adapters.instantid.spec import NAME
from models.adapters.perceiver import QueryResampler
from models.adapters.text_prompt import check_prompts, text_conditioning
from models.faces.face import Face
from models.sdxl.attention import ImagePrompt
from models.sdxl.conditioning import RowConditioning
from models.sdxl.control import Control, ControlNet
from models.sdxl.region import Region
from models.sdxl.text import TextEncoders
from models.wire.picture import Picture

IDENTITY_NET = "identity"
# The scale of both channels at strength 1: the one of every published example. Above it pictures look burnt.
FULL_SCALE = 0.8


@dataclass(frozen=True, slots=True)
class _Seen:
    """Face tokens as keys and values: of the UNet's layers, and of IdentityNet's."""

    by_unet: Tensor  # [16, 2, W]
    by_net: Tensor  # [16, 2, V]


class InstantID:
    """Owns the resampler and the projection; shares IdentityNet with the denoiser, and the text encoders.

    Keeps nothing of an order: strengths, keypoints, regions and windows go with each row.
    """

    name = NAME
    takes_pose = True
    # Its training pictures had agencies' watermarks at this size, and so have its portraits.
    spoiled_sizes = frozenset({(1024, 1024)})

    def __init__(
        self,
        resampler: QueryResampler,
        projection: ImageProjection,
        net: ControlNet,
        text: TextEncoders,
        *,
        face_space: str | None,
    ) -> None:
        self.face_space = face_space
        self._resampler = resampler
        self.projection = projection
        self._net = net
        self._text = text
        nobody = self.tokens_of(torch.zeros(1, resampler.proj_in.in_features))
        self._nobody = _Seen(projection(nobody), net.context(nobody))

    def modules(self) -> list[nn.Module]:
        return [self._resampler, self.projection, *self._net.modules()]

    @property
    def tokens(self) -> TokenShape:
        """The face's embedding, one for all selfies: the tokens that are made of it are 32 times as large."""
        return TokenShape(1, self._resampler.proj_in.in_features, torch.float32, torch.device("cpu"), one_for_all=True)

    @torch.inference_mode()
    def tokens_of(self, embeddings: Tensor) -> Tensor:
        """Raw face embeddings [N, 512] of one person -> [16, D]. All zeros stand for nobody."""
        weight = self._resampler.proj_in.weight
        return self._resampler.tokens(embeddings[None].to(weight.device, weight.dtype))[0]

    def identity(self, selfies: Sequence[Picture], faces: Sequence[Face]) -> Identity:
        """The mean of the raw embeddings: the weights were trained on one face, and on its length, too."""
        missing = [face for face in faces if face.embedding is None or face.space != self.face_space]
        if missing:
            raise ValueError(f"{self.name} needs face embeddings of {self.face_space}, got {missing[0].space}")
        embeddings = np.stack([face.embedding for face in faces if face.embedding is not None])
        return Identity(torch.from_numpy(embeddings).float().mean(dim=0, keepdim=True), Pose.of(selfies[0], faces[0]))

    def check_scene(self, scene: Scene, num_selfies: int) -> None:
        """Raises PromptTooLong."""
        check_prompts(self._text, scene)

    @torch.inference_mode()
    def condition(self, identity: Identity, scene: Scene) -> RowConditioning:
        """Everything that doesn't depend on the step is computed here, once for all of a job's rows."""
        return self._with_person(text_conditioning(self._text, scene), identity, scene)

    def _with_person(self, plain: RowConditioning, identity: Identity, scene: Scene) -> RowConditioning:
        """Strength 0 adds nothing: the row is one of the plain model's."""
        sampling, placing = scene.sampling, scene.placing
        control_strength = sampling.strength if placing.control_strength is None else placing.control_strength
        if not sampling.strength and not control_strength:
            return plain
        assert identity.pose is not None, "made by another adapter"
        tokens = self.tokens_of(identity.tokens)
        placed = place(scene, identity.pose)
        hint = self._net.hint(torch.from_numpy(draw_keypoints(placed.landmarks, sampling.width, sampling.height)))
        region = _face_region(placed, scene, hint) if placing.region == "face" else None
        image = ImagePrompt(self.projection(tokens), FULL_SCALE * sampling.strength, region)
        control = Control(
            net=IDENTITY_NET,
            hint=hint,
            context=self._net.context(tokens),
            scale=FULL_SCALE * control_strength,
            steps=_steps_within(placing.control_window, sampling.steps),
            region=region,
        )
        return replace(
            plain,
            image=image if sampling.strength else None,
            negative_image=replace(image, keys_values=self._nobody.by_unet) if sampling.strength else None,
            controls=(control,) if control_strength else (),
            negative_controls=(replace(control, context=self._nobody.by_net),) if control_strength else (),
        )


def _steps_within(window: tuple[float, float], num_steps: int) -> range:
    """The steps that lie wholly inside the window, as diffusers counts `control_guidance_start` and `_end`."""
    start, end = window
    inside = [step for step in range(num_steps) if step / num_steps >= start and (step + 1) / num_steps <= end]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def _face_region(placed: Placed, scene: Scene, hint: Tensor) -> Region:
    """The face's box as whole pixels, cut off at the canvas's edges: a face may reach over them."""
    x0, y0, x1, y1 = (max(int(edge), 0) for edge in placed.box)
    mask = torch.zeros(scene.sampling.height, scene.sampling.width, device=hint.device)
    mask[y0:y1, x0:x1] = 1
    height, width = hint.shape[-2:]
    return Region.of(mask, height, width)
