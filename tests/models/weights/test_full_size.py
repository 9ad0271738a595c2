"""The published full-size files fit our modules: names and shapes on the meta device, no weight needed.

Counts are those of the published checkpoints (PhotoMaker: the model cards and a scan of the files, see
models/adapters/photomaker; SDXL: the diffusers folders of stabilityai/stable-diffusion-xl-base-1.0).
"""

import pytest
import torch

from models.adapters.lora import check_lora, read_lora
from models.adapters.lora_names import ModuleNames, sgm_names
from models.adapters.photomaker.checkpoint import split_checkpoint
from models.adapters.photomaker.encoder import EncoderShape, PerceiverShape, PhotoMakerEncoder
from models.weights.modules import Place, build_text_encoder, build_vae, meta_unet

META = Place(torch.device("meta"), torch.bfloat16)
SDXL_UNET = {
    "_class_name": "UNet2DConditionModel",
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
}
SDXL_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "scaling_factor": 0.13025,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_BIG_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def meta_encoder(version):
    with torch.device("meta"):
        return PhotoMakerEncoder(EncoderShape(perceiver=PerceiverShape() if version == "v2" else None))


@pytest.fixture(scope="module")
def unet():
    return meta_unet(SDXL_UNET)


def test_the_unet_is_sdxls(unet):
    assert parameters(unet) == 2_567_463_684
    assert len(unet.state_dict()) == 1680


@pytest.mark.parametrize(("version", "tensors", "count"), [("v1", 407, 326_273_024), ("v2", 463, 543_395_840)])
def test_the_photomaker_encoder_has_the_published_tensors(version, tensors, count):
    encoder = meta_encoder(version)
    assert len(encoder.state_dict()) == tensors
    assert parameters(encoder) == count


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("vision_model.embeddings.patch_embedding.weight", (1024, 3, 14, 14)),
        ("vision_model.embeddings.position_embedding.weight", (257, 1024)),
        ("vision_model.pre_layrnorm.weight", (1024,)),
        ("vision_model.encoder.layers.23.mlp.fc1.weight", (4096, 1024)),
        ("vision_model.post_layernorm.bias", (1024,)),
        ("visual_projection.weight", (768, 1024)),
        ("visual_projection_2.weight", (1280, 1024)),
        ("fuse_module.mlp1.fc1.weight", (2048, 4096)),
        ("fuse_module.mlp2.layernorm.bias", (2048,)),
        ("fuse_module.layer_norm.weight", (2048,)),
        ("qformer_perceiver.token_proj.0.weight", (2048, 512)),
        ("qformer_perceiver.token_proj.2.weight", (4096, 2048)),
        ("qformer_perceiver.token_norm.weight", (2048,)),
        ("qformer_perceiver.perceiver_resampler.proj_in.weight", (2048, 1024)),
        ("qformer_perceiver.perceiver_resampler.layers.3.0.to_kv.weight", (4096, 2048)),
        ("qformer_perceiver.perceiver_resampler.layers.3.1.0.bias", (2048,)),
        ("qformer_perceiver.perceiver_resampler.layers.3.1.1.weight", (8192, 2048)),
        ("qformer_perceiver.perceiver_resampler.layers.3.1.3.weight", (2048, 8192)),
        ("qformer_perceiver.perceiver_resampler.norm_out.bias", (2048,)),
    ],
)
def test_photomaker_v2_keys_have_the_published_shapes(key, shape):
    assert tuple(meta_encoder("v2").state_dict()[key].shape) == shape


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_version_of_a_published_checkpoint_is_read_off_its_keys(version):
    state = {f"id_encoder.{key}": tensor for key, tensor in meta_encoder(version).state_dict().items()}
    checkpoint = split_checkpoint(state)
    assert checkpoint.shape.version == version
    assert checkpoint.shape.tokens_per_picture == {"v1": 1, "v2": 2}[version]


def test_the_published_photomaker_lora_fits_every_attention_of_the_unet(unet):
    """1120 tensors, rank 64, 92,897,280 parameters, in the attention-processor key style."""
    state = {}
    for name, module in unet.named_modules():
        if name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0")):
            stem, which = name.removesuffix(".0").rsplit(".to_", 1)
            key = f"unet.{stem}.processor.to_{which}_lora"
            state[f"{key}.down.weight"] = torch.empty(64, module.in_features, device="meta")
            state[f"{key}.up.weight"] = torch.empty(module.out_features, 64, device="meta")
    assert len(state) == 1120
    assert sum(tensor.numel() for tensor in state.values()) == 92_897_280
    updates = read_lora(state, ModuleNames({"unet": unet}))
    assert len(updates) == 560
    check_lora({"unet": unet}, updates)


@pytest.mark.parametrize("spelling", ["diffusers", "stability"])
def test_a_lora_over_the_whole_unet_fits_in_kohya_names(unet, spelling):
    """SDXL-Lightning, Hyper-SD and LCM: `lora_unet_<diffusers path>` on linears and convolutions, with alphas; style
    LoRAs from kohya's trainer: the same over Stability's block names."""
    sgm = {path: name for name, path in sgm_names(unet)}
    state = {}
    for name, module in unet.named_modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.dim() not in (2, 4):
            continue
        key = "lora_unet_" + (sgm[name] if spelling == "stability" else name).replace(".", "_")
        state[f"{key}.lora_down.weight"] = torch.empty(64, *weight.shape[1:], device="meta")
        ones = [1] * (weight.dim() - 2)
        state[f"{key}.lora_up.weight"] = torch.empty(weight.shape[0], 64, *ones, device="meta")
        state[f"{key}.alpha"] = torch.tensor(64.0)
    updates = read_lora(state, ModuleNames({"unet": unet}))
    assert len(updates) == len(state) // 3 > 700
    check_lora({"unet": unet}, updates)


@pytest.mark.parametrize(
    ("stability", "diffusers"),
    [
        (
            "input_blocks_4_1_transformer_blocks_1_attn2_to_k",
            "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
        ),
        ("input_blocks_8_1_proj_in", "down_blocks.2.attentions.1.proj_in"),
        ("input_blocks_6_0_op", "down_blocks.1.downsamplers.0.conv"),
        ("middle_block_1_transformer_blocks_9_ff_net_2", "mid_block.attentions.0.transformer_blocks.9.ff.net.2"),
        ("output_blocks_2_2_conv", "up_blocks.0.upsamplers.0.conv"),
        ("output_blocks_5_1_proj_out", "up_blocks.1.attentions.2.proj_out"),
        ("output_blocks_8_0_in_layers_2", "up_blocks.2.resnets.2.conv1"),
        ("output_blocks_6_0_skip_connection", "up_blocks.2.resnets.0.conv_shortcut"),
    ],
)
def test_stabilitys_block_numbers_are_those_of_sdxl(unet, stability, diffusers):
    assert ModuleNames({"unet": unet}).find(f"lora_unet_{stability}.alpha") == (f"unet.{diffusers}", "alpha")


def meta_state(module, prefix=""):
    return {prefix + key: tensor for key, tensor in module.state_dict().items()}


def test_both_published_text_encoders_load_with_their_prefixes_and_position_ids():
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        first = CLIPTextModel(CLIPTextConfig(**CLIP_L))
        second = CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_BIG_G))
    old = {f"text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in meta_state(first).items()}
    old["text_model.embeddings.position_ids"] = torch.zeros(1, 77)
    assert parameters(build_text_encoder(CLIP_L, old, META)) == 123_060_480
    assert parameters(build_text_encoder(CLIP_BIG_G, meta_state(second), META)) == 694_659_840


@pytest.mark.parametrize("names", ["present", "before 0.15"])
def test_the_published_vae_loads_with_old_and_new_attention_names(names):
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        state = AutoencoderKL.from_config(SDXL_VAE).state_dict()
    if names != "present":
        renames = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for new, old in renames.items():
            state = {k.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): t for k, t in state.items()}
        assert any("proj_attn" in key for key in state)
    assert parameters(build_vae(SDXL_VAE, state, META)) == 83_653_863
