"""The field that a caller may have meant."""

import difflib
from collections.abc import Sequence

# Names of one thing in the interfaces that callers come from, one thing a line.
SYNONYMS = [
    frozenset(line.split())
    for line in """
    image images file files photo photos picture pictures selfie selfies img input_image image_url face_image upload
    n num_images num_outputs num_samples num count batch_size number samples
    prompt text description caption
    steps num_steps num_inference_steps sampling_steps
    guidance guidance_scale cfg cfg_scale
    size width height resolution image_size aspect_ratio
    format output_format image_format
    quality output_quality output_compression
    strength identity_strength ip_adapter_scale input_fidelity
    sampler scheduler sampler_name
    adapter model model_name
    deadline timeout
    webhook callback callback_url webhook_url
    """.strip().splitlines()
]


def near_name(name: str, known: Sequence[str]) -> str | None:
    """The known name of what others call so, or the one that is spelt nearly so."""
    plain = name[:64].lower().removesuffix("[]")
    others = next((group for group in SYNONYMS if plain in group), frozenset[str]())
    alike = [one for one in known if one in others] or difflib.get_close_matches(plain, known, n=1)
    return alike[0] if alike else None
