"""Docstrings name what exists: a name in backticks is one of the code's own, or listed as somebody else's."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [path for package in ("service", "models") for path in sorted((ROOT / package).rglob("*.py"))]
NAME = re.compile(r"`([a-z]\w*_\w*)(?:\(\))?`")  # with an underscore: of one word, nobody could say what it names
FOREIGN = {  # diffusers' and transformers', the checkpoints', the clients', the standards'
    *("control_guidance_start", "force_zeros_for_empty_prompt", "hf_hub_download", "norm_crop", "set_alpha_to_one"),
    *("id_encoder", "image_proj", "ip_adapter", "lora_weights", "text_time", "to_k_ip", "to_v_ip"),
    *("encode_token_weights", "extra_body", "invalid_token"),
}


def identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for value in (getattr(node, field, None) for field in ("name", "id", "attr", "arg", "value")):
            if isinstance(value, str) and value.isidentifier():
                yield value


TREES = {path: ast.parse(path.read_text("utf-8")) for path in SOURCES}
KNOWN = {name for tree in TREES.values() for name in identifiers(tree)} | {path.stem for path in SOURCES} | FOREIGN


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_in_a_docstring_exists(path):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(TREES[path]) if isinstance(node, documented)]
    assert {name for text in texts for name in NAME.findall(text)} - KNOWN == set()
