"""The text's part of a row, for adapters that leave the prompt as it is and bring the person beside it."""

from models.adapters.adapter import Wish
from models.sdxl.conditioning import RowConditioning, time_ids_for, zeros_like
from models.sdxl.text import TextEncoders


def check_prompts(text: TextEncoders, wish: Wish) -> None:
    """Raises PromptTooLong."""
    for prompt in (wish.prompt, wish.negative_prompt):
        if prompt is not None:
            text.tokenize(prompt)


def text_conditioning(text: TextEncoders, wish: Wish) -> RowConditioning:
    """What the plain model, without any person, is steered by."""
    wanted = [text.tokenize(wish.prompt)]
    if wish.guided and wish.negative_prompt is not None:
        wanted.append(text.tokenize(wish.negative_prompt))
    prompt, *negative = text.encode(wanted, wish.lora)
    return RowConditioning(
        personal=prompt,
        plain=prompt,
        merge_step=-1,
        negative=(negative[0] if negative else zeros_like(prompt)) if wish.guided else None,
        time_ids=time_ids_for(wish.width, wish.height, prompt.embeds.device, prompt.embeds.dtype),
    )
