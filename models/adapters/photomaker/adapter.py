"""PhotoMaker v1 and v2 as an adapter: selfies to ID tokens, and a prompt that carries them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import CLIPTokenizer

from models.adapters.adapter import Identity, Scene, Size, TokenShape
from models.adapters.clip_pixels import clip_pixels
from models.adapters.photomaker.encoder import PhotoMakerEncoder
from models.adapters.photomaker.spec import NAMES
from models.adapters.photomaker.trigger import check_budget, expand, place_trigger, with_trigger
from models.faces.face import Face
from models.sdxl.conditioning import Prompt, RowConditioning, time_ids_for, zeros_like
from models.sdxl.text import TextEncoders
from models.wire.picture import Picture


class PhotoMaker:
    """Owns the ID encoder and tokenizers that know the trigger; shares the text encoders. Keeps nothing of an order."""

    takes_pose = False
    spoiled_sizes = frozenset[Size]()

    def __init__(
        self,
        encoder: PhotoMakerEncoder,
        text: TextEncoders,
        trigger_tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        *,
        face_space: str | None = None,
    ) -> None:
        """`trigger_tokenizers` are copies of the text encoders' own; this adapter changes them."""
        self.name = NAMES[encoder.shape.version]
        self.face_space = face_space
        self._encoder = encoder
        self._text = text
        self._tokenizers = trigger_tokenizers
        for tokenizer in trigger_tokenizers:
            with_trigger(tokenizer)

    def modules(self) -> list[nn.Module]:
        return [self._encoder]

    @property
    def tokens_per_picture(self) -> int:
        return self._encoder.shape.tokens_per_picture

    @property
    def tokens(self) -> TokenShape:
        weight = self._encoder.visual_projection.weight
        return TokenShape(self.tokens_per_picture, self._encoder.shape.cross_attention_dim, weight.dtype, weight.device)

    @torch.inference_mode()
    def identity(self, selfies: Sequence[Picture], faces: Sequence[Face]) -> Identity:
        """One pass of the image tower over all selfies -> [N*k, D].

        The whole picture goes in, not the face crop: that is what the weights were trained on.
        """
        size = self._encoder.shape.vision.image_size
        weight = self._encoder.visual_projection.weight
        pixels = torch.stack([clip_pixels(selfie, size) for selfie in selfies])
        embeddings = self._face_embeddings(faces)
        tokens = self._encoder(
            pixels.to(weight.device, weight.dtype),
            None if embeddings is None else embeddings.to(weight.device, weight.dtype),
        )
        return Identity(tokens.flatten(0, 1))

    def check_scene(self, scene: Scene, num_selfies: int) -> None:
        """Raises TriggerError, PromptSyntaxError or PromptTooLong, naming the value and the limit."""
        prompt = place_trigger(scene.words.prompt, scene.words.subject)
        for tokenizer in self._tokenizers:
            check_budget(tokenizer, prompt, num_selfies * self.tokens_per_picture)
        if scene.words.negative_prompt is not None:
            self._text.tokenize(scene.words.negative_prompt)

    @torch.inference_mode()
    def condition(self, identity: Identity, scene: Scene) -> RowConditioning:
        """Encode the prompt with and without the person, and the negative one, in one pass; then fuse."""
        prompt = place_trigger(scene.words.prompt, scene.words.subject)
        first, second = (expand(tokenizer, prompt, len(identity.tokens)) for tokenizer in self._tokenizers)
        wanted = [(first.ids, second.ids), (first.plain_ids, second.plain_ids)]
        weights = [second.plain_weights]
        if scene.sampling.is_guided and scene.words.negative_prompt is not None:
            wanted.append(self._text.tokenize(scene.words.negative_prompt))
            weights.append(self._text.weights(scene.words.negative_prompt))
        expanded, *others = self._text.encode(wanted, scene.lora)
        plain, *negative = (self._text.weigh(*each, scene.lora) for each in zip(others, weights, strict=True))
        positions = torch.tensor(second.positions, device=expanded.embeds.device)
        fused = self._encoder.fuse(expanded.embeds, positions, identity.tokens[: len(positions)])
        return RowConditioning(
            personal=self._text.weigh(Prompt(fused, expanded.pooled), second.weights, scene.lora),
            plain=plain,
            merge_step=merge_step(scene.sampling.strength, scene.sampling.steps),
            negative=_negative(negative, plain) if scene.sampling.is_guided else None,
            time_ids=time_ids_for(scene.sampling.width, scene.sampling.height, plain.embeds.device, plain.embeds.dtype),
        )

    def _face_embeddings(self, faces: Sequence[Face]) -> torch.Tensor | None:
        if self._encoder.shape.perceiver is None:
            return None
        missing = [face for face in faces if face.embedding is None or face.space != self.face_space]
        if missing:
            raise ValueError(f"{self.name} needs face embeddings of {self.face_space}, got {missing[0].space}")
        return torch.from_numpy(np.stack([face.embedding for face in faces if face.embedding is not None])).float()


def merge_step(strength: float, num_steps: int) -> int:
    """The last step without identity: strength is the share of steps that carry it.

    1 gives -1 (every step), 0 gives the last step (none). The published `style_strength_ratio` r is strength 1 - r:
    20 % of 50 steps and 20 % of 4 both end at step 0 or 9 there, one more than asked for (photomaker.md, section 9);
    here the count is exact and any positive strength keeps at least the last step.
    """
    if strength <= 0:
        return num_steps - 1
    personal = max(1, round(strength * num_steps))
    return num_steps - personal - 1


def _negative(encoded: Sequence[Prompt], like: Prompt) -> Prompt:
    """No negative prompt means zeros, an empty one is encoded: SDXL base's `force_zeros_for_empty_prompt`."""
    return encoded[0] if encoded else zeros_like(like)
