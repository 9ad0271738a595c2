"""The text's part of a row, for adapters that leave the prompt as it is and bring the person beside it."""

from models.adapters.adapter import Scene
from models.sdxl.conditioning import RowConditioning, time_ids_for, zeros_like
from models.sdxl.text import TextEncoders


def check_prompts(text: TextEncoders, scene: Scene) -> None:
    """Raises PromptTooLong or PromptSyntaxError."""
    for prompt in (scene.words.prompt, scene.words.negative_prompt):
        if prompt is not None:
            text.tokenize(prompt)


def text_conditioning(text: TextEncoders, scene: Scene) -> RowConditioning:
    """What the plain model, without any person, is steered by."""
    wanted = [scene.words.prompt]
    if scene.sampling.is_guided and scene.words.negative_prompt is not None:
        wanted.append(scene.words.negative_prompt)
    encoded = text.encode([text.tokenize(prompt) for prompt in wanted], scene.lora)
    prompt, *negative = (
        text.weigh(made, text.weights(words), scene.lora) for made, words in zip(encoded, wanted, strict=True)
    )
    return RowConditioning(
        personal=prompt,
        plain=prompt,
        merge_step=-1,
        negative=(negative[0] if negative else zeros_like(prompt)) if scene.sampling.is_guided else None,
        time_ids=time_ids_for(scene.sampling.width, scene.sampling.height, prompt.embeds.device, prompt.embeds.dtype),
    )
