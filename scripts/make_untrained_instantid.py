"""Write an InstantID of random weights that fits the embedded bundle, and a manifest that serves both.

    python scripts/make_untrained_instantid.py out/untrained
    proofsheet serve --bundle tiny-instantid --manifest out/untrained/manifest.toml --weights-dir out/untrained

It shows that every part works and draws nobody: nothing in it was trained.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from models.adapters.perceiver import QueryResampler, ResamplerShape
from models.faces.recogniser import EMBEDDING_WIDTH
from models.sdxl.attention import attention_layers, cross_attention_slots
from models.weights.manifest import PACKAGE
from models.weights.modules import meta_unet

NUM_TOKENS = 16
_SPREAD = 0.1  # of IdentityNet's outputs, which start training at 0

MANIFEST = """
[bundles.tiny-instantid]
title = "The embedded bundle with an InstantID of random weights"
unet = "tiny/unet"
vae = "tiny/vae"
text_encoder = "tiny/text_encoder"
text_encoder_2 = "tiny/text_encoder_2"
tokenizer = "tiny/tokenizer"
tokenizer_2 = "tiny/tokenizer_2"
scheduler = "tiny/scheduler"
photomaker = ["tiny/photomaker/photomaker-v2.safetensors"]
instantid = "InstantID/ip-adapter.bin"
identity_net = "InstantID/ControlNetModel"
face_spaces = { photomaker-v2 = "proofsheet-tiny", instantid = "proofsheet-tiny" }
size = [256, 256]
sizes = [[256, 256]]
samplers = ["euler", "ddim", "lcm", "tcd", "euler-ancestral"]
steps = 4
guidance = 1.0
strength = 1.0
"""


def untrained_adapter(unet_config: Mapping[str, Any], width: int = 64) -> dict[str, dict[str, Tensor]]:
    """The two parts of an `ip-adapter.bin` for this UNet."""
    unet = meta_unet(unet_config)
    shape = ResamplerShape(
        width=width,
        context_width=EMBEDDING_WIDTH,
        out_width=unet_config["cross_attention_dim"],
        depth=4,
        heads=1,
        dim_head=64,
        ff_mult=4,
    )
    resampler = QueryResampler(shape, NUM_TOKENS)
    torch.nn.init.normal_(resampler.latents, std=width**-0.5)
    numbers = {name: n for n, (name, _) in enumerate(attention_layers(unet))}
    projections = {
        f"{numbers[name]}.to_{part}_ip.weight": torch.randn(slot.stop - slot.start, shape.out_width)
        / shape.out_width**0.5
        for name, _, slot in cross_attention_slots(unet)
        for part in "kv"
    }
    state = {key: tensor.detach().clone() for key, tensor in resampler.state_dict().items()}
    return {"image_proj": state, "ip_adapter": projections}


def untrained_net(unet_config: Mapping[str, Any], latent_factor: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of an IdentityNet for this UNet."""
    widths = [16]
    while 2 ** (len(widths) - 1) < latent_factor:  # each further width halves the picture once
        widths.append(widths[-1] * 2)
    shared = ControlNetModel.from_unet(meta_unet(unet_config), load_weights_from_unet=False).config
    config = {key: value for key, value in shared.items() if not key.startswith("_")}
    config["conditioning_embedding_out_channels"] = widths
    net = ControlNetModel(**config)
    for name, parameter in net.named_parameters():
        if name.startswith(("controlnet_down", "controlnet_mid")):
            torch.nn.init.normal_(parameter, std=_SPREAD)
        elif name.startswith("controlnet_cond_embedding") and parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)  # diffusers' own start lets the picture fade away
    return config, {key: tensor.detach().clone() for key, tensor in net.state_dict().items()}


def write_untrained(folder: Path, seed: int = 0) -> None:
    """`folder` gets the embedded bundle's files, InstantID/ and manifest.toml."""
    torch.manual_seed(seed)
    config = json.loads((PACKAGE / "tiny" / "unet" / "config.json").read_text())
    vae = json.loads((PACKAGE / "tiny" / "vae" / "config.json").read_text())
    widths = vae.get("block_out_channels") or vae["decoder_block_out_channels"]
    net_folder = folder / "InstantID" / "ControlNetModel"
    net_folder.mkdir(parents=True, exist_ok=True)
    torch.save(untrained_adapter(config), net_folder.parent / "ip-adapter.bin")
    net_config, net_state = untrained_net(config, 2 ** (len(widths) - 1))
    (net_folder / "config.json").write_text(json.dumps(net_config, indent=1))
    save_file(net_state, net_folder / "diffusion_pytorch_model.safetensors")
    shutil.copytree(PACKAGE / "tiny", folder / "tiny", dirs_exist_ok=True)
    (folder / "manifest.toml").write_text(MANIFEST + "\n".join(_entries(folder)))


def _entries(folder: Path) -> list[str]:
    paths = sorted(path for part in ("tiny", "InstantID") for path in (folder / part).rglob("*") if path.is_file())
    return [
        f'[[files]]\npath = "{path.relative_to(folder)}"\nlicence = "CC0-1.0"\ncommercial = "yes"\n'
        f'origin = "made here"\nsize = {path.stat().st_size}\n'
        for path in paths
    ]


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True)
def main(folder: Path, seed: int) -> None:
    write_untrained(folder, seed)
    print(f"wrote {folder}/manifest.toml with the bundle tiny-instantid")


if __name__ == "__main__":
    main()
