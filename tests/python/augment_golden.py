"""Prints the views that torchvision makes of a small picture: what src/learn/augment/golden.json holds.

    python3 augment_golden.py >src/learn/augment/golden.json
"""

import json

import torch
from torchvision.transforms.v2 import functional as F

WIDTH, HEIGHT, PX = 12, 9, 4
CASES = [
    {"crop": [2, 1, 3, 3], "flip": False, "order": "", "grey": False},
    {"crop": [0, 0, 12, 9], "flip": True, "order": "", "grey": False},
    {"crop": [1, 2, 8, 7], "flip": False, "order": "bcsh", "grey": False},
    {"crop": [3, 0, 9, 6], "flip": True, "order": "hscb", "grey": False},
    {"crop": [4, 3, 5, 6], "flip": False, "order": "shbc", "grey": True},
]
BRIGHTNESS, CONTRAST, SATURATION, HUE = 1.3, 0.7, 1.4, -0.08

pixels = [(index * index * 7 + index * 31) % 256 for index in range(WIDTH * HEIGHT * 3)]
picture = torch.tensor(pixels, dtype=torch.uint8).view(HEIGHT, WIDTH, 3).permute(2, 0, 1).float() / 255
for case in CASES:
    left, top, width, height = case["crop"]
    view = F.resized_crop(picture, top, left, height, width, [PX, PX], antialias=True)
    view = F.horizontal_flip(view) if case["flip"] else view
    for operation in case["order"]:
        view = {
            "b": lambda x: F.adjust_brightness(x, BRIGHTNESS),
            "c": lambda x: F.adjust_contrast(x, CONTRAST),
            "s": lambda x: F.adjust_saturation(x, SATURATION),
            "h": lambda x: F.adjust_hue(x, HUE),
        }[operation](view)
    view = F.rgb_to_grayscale(view, num_output_channels=3) if case["grey"] else view
    view = F.normalize(view, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    case["view"] = [round(value, 5) for value in view.permute(1, 2, 0).flatten().tolist()]
print(json.dumps(CASES))
