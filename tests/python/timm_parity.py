"""Embeds pictures with timm and a published model's folder, with no code of the daemon's.

    python3 timm_parity.py DIR PICTURE...

DIR holds model.safetensors and config.json. Prints a JSON list with one unit vector for each picture.
"""

import json
import sys

import timm
import torch
from PIL import Image, ImageOps


def main(folder, *pictures):
    model = timm.create_model("local-dir:" + folder, pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    upright = (ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in pictures)
    with torch.inference_mode():
        vectors = [torch.nn.functional.normalize(model(transform(picture)[None]))[0] for picture in upright]
    print(json.dumps([vector.tolist() for vector in vectors]))


if __name__ == "__main__":
    main(*sys.argv[1:])
