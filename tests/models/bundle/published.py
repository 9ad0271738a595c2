"""What the published files hold, key by key: written from their specifications, not read off our own modules.

Sources: the diffusers folders of stabilityai/stable-diffusion-xl-base-1.0; the key tables of PhotoMaker's and
InstantID's checkpoints; IP-Adapter's "plus" layout; kohya's names for SDXL-Lightning's LoRA. Each function gives
{key: shape}. Parameters times bytes agree with the published file sizes, which `test_full_size` checks.
"""

import itertools

Shapes = dict[str, tuple[int, ...]]


def weight(name, *shape) -> Shapes:
    return {f"{name}.weight": shape}


def biased(name, *shape) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def norm(name, width) -> Shapes:
    return biased(name, width)


def conv(name, out, inside, side=3) -> Shapes:
    return biased(name, out, inside, side, side)


def merged(*parts) -> Shapes:
    return {key: shape for part in parts for key, shape in part.items()}


def prefixed(prefix, shapes) -> Shapes:
    return {prefix + key: shape for key, shape in shapes.items()}


# ---- SDXL


def resnet(name, inside, out, time=1280) -> Shapes:
    shapes = merged(
        norm(f"{name}.norm1", inside),
        conv(f"{name}.conv1", out, inside),
        norm(f"{name}.norm2", out),
        conv(f"{name}.conv2", out, out),
    )
    if time:
        shapes |= biased(f"{name}.time_emb_proj", out, time)
    if inside != out:
        shapes |= conv(f"{name}.conv_shortcut", out, inside, 1)
    return shapes


def attention(name, width, context) -> Shapes:
    return merged(
        weight(f"{name}.to_q", width, width),
        weight(f"{name}.to_k", width, context),
        weight(f"{name}.to_v", width, context),
        biased(f"{name}.to_out.0", width, width),
    )


def transformer(name, width, depth) -> Shapes:
    shapes = merged(
        norm(f"{name}.norm", width), biased(f"{name}.proj_in", width, width), biased(f"{name}.proj_out", width, width)
    )
    for index in range(depth):
        block = f"{name}.transformer_blocks.{index}"
        shapes |= attention(f"{block}.attn1", width, width) | attention(f"{block}.attn2", width, 2048)
        shapes |= biased(f"{block}.ff.net.0.proj", 8 * width, width) | biased(f"{block}.ff.net.2", width, 4 * width)
        shapes |= merged(*(norm(f"{block}.norm{number}", width) for number in (1, 2, 3)))
    return shapes


def encoder_half() -> Shapes:
    """What the UNet and IdentityNet have in common: everything down to the middle."""
    return merged(
        conv("conv_in", 320, 4),
        biased("time_embedding.linear_1", 1280, 320),
        biased("time_embedding.linear_2", 1280, 1280),
        biased("add_embedding.linear_1", 1280, 2816),
        biased("add_embedding.linear_2", 1280, 1280),
        resnet("down_blocks.0.resnets.0", 320, 320),
        resnet("down_blocks.0.resnets.1", 320, 320),
        conv("down_blocks.0.downsamplers.0.conv", 320, 320),
        resnet("down_blocks.1.resnets.0", 320, 640),
        resnet("down_blocks.1.resnets.1", 640, 640),
        *(transformer(f"down_blocks.1.attentions.{index}", 640, 2) for index in range(2)),
        conv("down_blocks.1.downsamplers.0.conv", 640, 640),
        resnet("down_blocks.2.resnets.0", 640, 1280),
        resnet("down_blocks.2.resnets.1", 1280, 1280),
        *(transformer(f"down_blocks.2.attentions.{index}", 1280, 10) for index in range(2)),
        *(resnet(f"mid_block.resnets.{index}", 1280, 1280) for index in range(2)),
        transformer("mid_block.attentions.0", 1280, 10),
    )


def unet() -> Shapes:
    return merged(
        encoder_half(),
        *(resnet(f"up_blocks.0.resnets.{index}", inside, 1280) for index, inside in enumerate((2560, 2560, 1920))),
        *(transformer(f"up_blocks.0.attentions.{index}", 1280, 10) for index in range(3)),
        conv("up_blocks.0.upsamplers.0.conv", 1280, 1280),
        *(resnet(f"up_blocks.1.resnets.{index}", inside, 640) for index, inside in enumerate((1920, 1280, 960))),
        *(transformer(f"up_blocks.1.attentions.{index}", 640, 2) for index in range(3)),
        conv("up_blocks.1.upsamplers.0.conv", 640, 640),
        *(resnet(f"up_blocks.2.resnets.{index}", inside, 320) for index, inside in enumerate((960, 640, 640))),
        norm("conv_norm_out", 320),
        conv("conv_out", 4, 320),
    )


def vae_middle(name, layers) -> Shapes:
    return merged(
        *(resnet(f"{name}.mid_block.resnets.{index}", 512, 512, time=0) for index in range(2)),
        norm(f"{name}.mid_block.attentions.0.group_norm", 512),
        *(biased(f"{name}.mid_block.attentions.0.{layer}", 512, 512) for layer in layers),
    )


def vae(layers=("query", "key", "value", "proj_attn")) -> Shapes:
    """`layers` are the attention's: as named before diffusers 0.15, or to_q, to_k, to_v and to_out.0."""
    down, up = (128, 128, 256, 512, 512), (512, 512, 512, 256, 128)
    shapes = merged(
        conv("encoder.conv_in", 128, 3),
        vae_middle("encoder", layers),
        norm("encoder.conv_norm_out", 512),
        conv("encoder.conv_out", 8, 512),
        conv("quant_conv", 8, 8, 1),
        conv("post_quant_conv", 4, 4, 1),
        conv("decoder.conv_in", 512, 4),
        vae_middle("decoder", layers),
        norm("decoder.conv_norm_out", 128),
        conv("decoder.conv_out", 3, 128),
    )
    for block in range(4):
        for index in range(3):
            inside = up[block] if index == 0 else up[block + 1]
            shapes |= resnet(f"decoder.up_blocks.{block}.resnets.{index}", inside, up[block + 1], time=0)
        for index in range(2):
            inside = down[block] if index == 0 else down[block + 1]
            shapes |= resnet(f"encoder.down_blocks.{block}.resnets.{index}", inside, down[block + 1], time=0)
        if block < 3:
            shapes |= conv(f"decoder.up_blocks.{block}.upsamplers.0.conv", up[block + 1], up[block + 1])
            shapes |= conv(f"encoder.down_blocks.{block}.downsamplers.0.conv", down[block + 1], down[block + 1])
    return shapes


def clip_layers(name, width, depth) -> Shapes:
    shapes = {}
    for index in range(depth):
        layer = f"{name}.layers.{index}"
        shapes |= merged(*(biased(f"{layer}.self_attn.{part}_proj", width, width) for part in ("q", "k", "v", "out")))
        shapes |= norm(f"{layer}.layer_norm1", width) | norm(f"{layer}.layer_norm2", width)
        shapes |= biased(f"{layer}.mlp.fc1", 4 * width, width) | biased(f"{layer}.mlp.fc2", width, 4 * width)
    return shapes


def text_encoder(width, depth, *, projection) -> Shapes:
    return merged(
        weight("text_model.embeddings.token_embedding", 49408, width),
        weight("text_model.embeddings.position_embedding", 77, width),
        clip_layers("text_model.encoder", width, depth),
        norm("text_model.final_layer_norm", width),
        weight("text_projection", width, width) if projection else {},
    )


# ---- adapters


def image_tower(width, depth) -> Shapes:
    return merged(
        {"vision_model.embeddings.class_embedding": (width,)},
        weight("vision_model.embeddings.patch_embedding", width, 3, 14, 14),
        weight("vision_model.embeddings.position_embedding", 257, width),
        norm("vision_model.pre_layrnorm", width),
        clip_layers("vision_model.encoder", width, depth),
        norm("vision_model.post_layernorm", width),
    )


def image_encoder() -> Shapes:
    """OpenCLIP's ViT-H, as IP-Adapter publishes it."""
    return image_tower(1280, 32) | weight("visual_projection", 1024, 1280)


def resampler(width, inside, out) -> Shapes:
    shapes = biased("proj_in", width, inside) | biased("proj_out", out, width) | norm("norm_out", out)
    for index in range(4):
        layer = f"layers.{index}"
        shapes |= norm(f"{layer}.0.norm1", width) | norm(f"{layer}.0.norm2", width) | norm(f"{layer}.1.0", width)
        shapes |= weight(f"{layer}.0.to_q", width, width) | weight(f"{layer}.0.to_kv", 2 * width, width)
        shapes |= weight(f"{layer}.0.to_out", width, width)
        shapes |= weight(f"{layer}.1.1", 4 * width, width) | weight(f"{layer}.1.3", width, 4 * width)
    return shapes


def photomaker(version) -> Shapes:
    encoder = merged(
        image_tower(1024, 24),
        weight("visual_projection", 768, 1024),
        weight("visual_projection_2", 1280, 1024),
        norm("fuse_module.mlp1.layernorm", 4096),
        biased("fuse_module.mlp1.fc1", 2048, 4096),
        biased("fuse_module.mlp1.fc2", 2048, 2048),
        norm("fuse_module.mlp2.layernorm", 2048),
        biased("fuse_module.mlp2.fc1", 2048, 2048),
        biased("fuse_module.mlp2.fc2", 2048, 2048),
        norm("fuse_module.layer_norm", 2048),
    )
    if version == "v2":
        encoder |= biased("qformer_perceiver.token_proj.0", 2048, 512)
        encoder |= biased("qformer_perceiver.token_proj.2", 4096, 2048)
        encoder |= norm("qformer_perceiver.token_norm", 2048)
        encoder |= prefixed("qformer_perceiver.perceiver_resampler.", resampler(2048, 1024, 2048))
    return prefixed("id_encoder.", encoder) | prefixed("lora_weights.", photomaker_lora())


def photomaker_lora(rank=64) -> Shapes:
    """Every attention of the UNet, in the old attention-processor names, without alphas."""
    shapes = {}
    for key, (out, *inside) in matrices().items():
        if ".attn" in key:
            stem, _, which = key.removesuffix(".0").rpartition(".to_")
            shapes |= weight(f"unet.{stem}.processor.to_{which}_lora.down", rank, *inside)
            shapes |= weight(f"unet.{stem}.processor.to_{which}_lora.up", out, rank)
    return shapes


def kohya_lora(rank=64) -> Shapes:
    """SDXL-Lightning's: kohya's names over diffusers' paths, on every matrix and convolution inside the blocks."""
    shapes = {}
    for key, (out, *inside) in matrices().items():
        name = "lora_unet_" + key.replace(".", "_")
        shapes |= weight(f"{name}.lora_down", rank, *inside) | {f"{name}.alpha": ()}
        shapes |= weight(f"{name}.lora_up", out, rank, *(1 for _ in inside[1:]))
    return shapes


def matrices() -> Shapes:
    """The weights of the UNet's blocks that a LoRA can change, by module."""
    blocks = ("down_blocks.", "mid_block.", "up_blocks.")
    return {
        key.removesuffix(".weight"): shape
        for key, shape in unet().items()
        if key.startswith(blocks) and key.endswith(".weight") and len(shape) > 1
    }


def decoupled_attention() -> Shapes:
    """`n` counts all attention layers, down blocks, up blocks, then the middle; only cross-attention has weights."""
    widths = [640] * 4 + [1280] * 20 + [1280] * 30 + [640] * 6 + [1280] * 10
    return merged(
        *(
            weight(f"{2 * index + 1}.to_k_ip", width, 2048) | weight(f"{2 * index + 1}.to_v_ip", width, 2048)
            for index, width in enumerate(widths)
        )
    )


def image_prompt(inside) -> Shapes:
    """InstantID's ip-adapter.bin (over a face embedding) and IP-Adapter plus (over an image's patches)."""
    projection = {"latents": (1, 16, 1280)} | resampler(1280, inside, 2048)
    return prefixed("image_proj.", projection) | prefixed("ip_adapter.", decoupled_attention())


def identity_net() -> Shapes:
    embedding = (16, 16, 32, 32, 96, 96, 256)
    zero = [320] * 4 + [640] * 3 + [1280] * 2
    return merged(
        encoder_half(),
        conv("controlnet_cond_embedding.conv_in", 16, 3),
        *(
            conv(f"controlnet_cond_embedding.blocks.{index}", out, inside)
            for index, (inside, out) in enumerate(itertools.pairwise(embedding))
        ),
        conv("controlnet_cond_embedding.conv_out", 320, 256),
        *(conv(f"controlnet_down_blocks.{index}", width, width, 1) for index, width in enumerate(zero)),
        conv("controlnet_mid_block", 1280, 1280, 1),
    )
