"""Two tokenizers and two text encoders in SDXL's shape, small: CLIP's own code reads them."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from scripts.train_tiny.drawing.prompts import TRIGGER, draw_prompt, words
from scripts.train_tiny.drawing.style import draw_style

CONTEXT_TOKENS = 77
START, END, FIRST_PAD = "<|startoftext|>", "<|endoftext|>", "!"
VOCABULARY = 1536
WIDTHS = (64, 128)  # side by side: what the UNet's cross-attention sees
_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def general_words() -> list[str]:
    return (Path(__file__).parent / "words.txt").read_text().split()


def train_tokenizers(folder: Path) -> None:
    """Writes `tokenizer` and `tokenizer_2` under `folder`: one vocabulary, two pads, as SDXL has them."""
    merges = _learn_merges()
    letters = _byte_letters()
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    assert len(set(vocabulary)) == len(vocabulary)
    assert f"{TRIGGER}</w>" not in vocabulary, "the trigger must be a token of the adapter's own"
    for name, pad in (("tokenizer", END), ("tokenizer_2", FIRST_PAD)):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        ids = {token: i for i, token in enumerate(vocabulary)}
        (target / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False) + "\n")
        (target / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
        special = {"bos_token": START, "eos_token": END, "pad_token": pad, "unk_token": END}
        config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": CONTEXT_TOKENS, "do_lower_case": True,
                  "add_prefix_space": False, **special}  # fmt: skip
        (target / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
        (target / "special_tokens_map.json").write_text(json.dumps(special, indent=1) + "\n")


def read_tokenizers(folder: Path) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    first, second = (CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2"))
    return first, second


def build_text_encoders(
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    small, large = (
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            max_position_embeddings=CONTEXT_TOKENS,
            projection_dim=width,
            bos_token_id=tokenizer.get_vocab()[START],
            eos_token_id=tokenizer.get_vocab()[END],
            pad_token_id=tokenizer.get_vocab()[str(tokenizer.pad_token)],
        )
        for tokenizer, width, layers in zip(tokenizers, WIDTHS, (2, 3), strict=True)
    )
    return CLIPTextModel(small), CLIPTextModelWithProjection(large)


def _corpus() -> list[str]:
    rng = np.random.default_rng(6)
    prompts = [draw_prompt(rng, draw_style(rng), bool(i % 2)).replace(f" {TRIGGER}", "") for i in range(4000)]
    return [*prompts, *words() * 40, *general_words() * 12]


def _learn_merges() -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=_byte_letters(), end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    learnt = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(str(a), str(b)) for a, b in learnt]


def _byte_letters() -> list[str]:
    """CLIP's 256 letters for bytes, in its order ("!" first): printable ones stand for themselves."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [256 + i for i in range(256 - len(plain))]
    return [chr(code) for code in [*plain, *others]]
