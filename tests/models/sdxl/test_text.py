"""Both encoders against transformers itself, and the cache in front of them."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from models.bundle.modules import EXACT, build_text_encoder
from models.sdxl.text import PromptTooLong, TextEncoders
from tests.models.conftest import GOLDEN


class Counting(torch.nn.Module):
    """An encoder that notes the size of every batch it is given."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.batches = []

    def forward(self, ids, **options):
        self.batches.append(len(ids))
        return self.encoder(ids, **options)


@pytest.fixture
def encoders():
    configs = json.loads((GOLDEN / "configs.json").read_text())
    names = ("text_encoder", "text_encoder_2")
    return tuple(Counting(build_text_encoder(configs[n], load_file(GOLDEN / f"{n}.safetensors"), EXACT)) for n in names)


@pytest.fixture
def text(encoders):
    return make_text(encoders)


def make_text(encoders, **options):
    tokenizers = tuple(CLIPTokenizer.from_pretrained(GOLDEN / name) for name in ("tokenizer", "tokenizer_2"))
    return TextEncoders(tokenizers, encoders, **options)


@torch.inference_mode()
def test_embeddings_are_the_penultimate_states_side_by_side_and_the_second_projection(text, encoders):
    ids = text.tokenize("portrait photo of a man wearing a hat")
    [prompt] = text.encode([ids])
    first = encoders[0].encoder(torch.tensor([ids[0]]), output_hidden_states=True)
    second = encoders[1].encoder(torch.tensor([ids[1]]), output_hidden_states=True)
    assert torch.equal(prompt.embeds, torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)[0])
    assert torch.equal(prompt.pooled, second.text_embeds[0])


def test_the_tokenizers_frame_and_pad_as_transformers_does(text):
    prompt = "a man in the rain"
    for mine, tokenizer in zip(text.tokenize(prompt), text.tokenizers, strict=True):
        assert list(mine) == tokenizer(prompt, padding="max_length", max_length=77).input_ids


def test_a_known_prompt_costs_nothing_and_new_ones_share_a_batch(text, encoders):
    a, b, c = (text.tokenize(words) for words in ("a man", "a hat", "the rain"))
    text.encode([a])
    text.encode([b, a, c, b])
    assert encoders[0].batches == [1, 2]
    text.encode([a, b, c])
    assert encoders[0].batches == [1, 2]


def test_results_come_in_the_order_they_were_asked_for(text):
    a, b = text.tokenize("a man"), text.tokenize("the rain on the street")
    [first] = text.encode([a])
    [_, again] = text.encode([b, a])
    torch.testing.assert_close(again.embeds, first.embeds)


def test_the_cache_forgets_what_was_not_used_for_longest(encoders):
    text = make_text(encoders, cache_prompts=2)
    a, b, c = (text.tokenize(words) for words in ("a man", "a hat", "the rain"))
    for wanted in (a, b, a, c, a):
        text.encode([wanted])
    assert encoders[0].batches == [1, 1, 1]
    text.encode([b])
    assert encoders[0].batches == [1, 1, 1, 1]


def test_a_prompt_that_just_fits_is_taken_and_one_word_more_is_refused_with_the_numbers(text):
    text.tokenize("photo " * 75)
    with pytest.raises(PromptTooLong, match="has 76 tokens and 75 fit") as refusal:
        text.tokenize("photo " * 76)
    assert (refusal.value.value, refusal.value.limit) == (76, 75)


def weighed(text, prompt):
    [encoded] = text.encode([text.tokenize(prompt)])
    return text.weigh(encoded, text.weights(prompt))


@torch.inference_mode()
def test_a_weight_scales_a_token_s_way_from_the_empty_prompt_in_both_encoders(text):
    """The oracle is ComfyUI's line, z = (z - empty) * weight + empty, written out token by token."""
    plain, empty = text.encode([text.tokenize("a man wearing a hat of a man"), text.tokenize("")])
    expected = plain.embeds.clone()
    for place, weight in {2: 1.1, 5: 1.3 * 1.1, 8: 0.5}.items():  # <start> a man wearing a hat of a man
        expected[place] = (plain.embeds[place] - empty.embeds[place]) * weight + empty.embeds[place]
    result = weighed(text, "a (man) wearing a ((hat:1.3)) of a (man:0.5)")
    same = [place for place in range(77) if place not in (2, 5, 8)]
    torch.testing.assert_close(result.embeds, expected)
    assert torch.equal(result.pooled, plain.pooled)
    assert torch.equal(result.embeds[same], plain.embeds[same])


@torch.inference_mode()
def test_weight_nought_leaves_the_empty_prompt_s_embedding(text):
    [empty] = text.encode([text.tokenize("")])
    torch.testing.assert_close(weighed(text, "a (man:0)").embeds[2], empty.embeds[2])


@pytest.mark.parametrize("prompt", ["a man in a coat", "a (man:1) in a coat", r"a man \(smiling\)", "([a man])"])
def test_a_prompt_whose_weights_are_all_1_is_the_same_object(text, prompt):
    [encoded] = text.encode([text.tokenize(prompt)])
    assert text.weigh(encoded, text.weights(prompt)) is encoded


def test_brackets_and_weights_are_no_tokens(text):
    assert text.tokenize("(a man:1.3) in [the rain]") == text.tokenize("a man in the rain")
    assert text.tokenize(r"a man \(smiling\)") != text.tokenize("a man (smiling)")


def test_a_prompt_is_counted_without_its_weights(text):
    fits = " ".join(["(man:1.25)"] * 75)
    assert len(text.tokenize(fits)[0]) == 77
    with pytest.raises(PromptTooLong) as refusal:
        text.tokenize(fits + " (man:1.25)")
    assert (refusal.value.value, refusal.value.limit) == (76, 75)
