"""Saves a network of timm's own as timm saves it, and embeds pictures with it, with no code of the daemon's.

    python3 timm_save.py DIR NAME PICTURE...

Writes config.json and model.safetensors, a classifier of ten classes included, into DIR. Prints a JSON list with one
unit vector for each picture: the mean of the features of its places. Pixels are normalised as the network's own
configuration says.
"""

import json
import sys

import timm
import torch
from PIL import Image, ImageOps
from timm.models import save_for_hf


def main(folder, name, *pictures):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=10).eval()
    with torch.no_grad():
        # Norms as if they had been trained: what starts at 1 or 0 would hide a mistake.
        for key, value in model.named_parameters():
            if "norm" in key or "bn" in key:
                value.add_(torch.randn_like(value) * 0.2)
    save_for_hf(model, folder, safe_serialization=True)
    is_vit = name.startswith("vit")
    side = 224 if is_vit else 64
    transform = timm.data.create_transform(
        (3, side, side),
        interpolation="bilinear",
        crop_pct=1.0,
        mean=model.pretrained_cfg["mean"],
        std=model.pretrained_cfg["std"],
    )
    vectors = []
    with torch.inference_mode():
        for path in pictures:
            features = model.forward_features(transform(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))[None])
            pooled = features[:, 1:].mean(1) if is_vit else features.mean((2, 3))
            vectors.append(torch.nn.functional.normalize(pooled)[0].tolist())
    print(json.dumps(vectors))


if __name__ == "__main__":
    main(*sys.argv[1:])
