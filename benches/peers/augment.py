"""lightly's side of augmentation: `SimCLRTransform` on PIL pictures, in one process of one thread."""

import argparse
import json

import lightly
import numpy
import torch
from lightly.transforms import SimCLRTransform
from PIL import Image

import slices

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--tiles", required=True, help="file of RGB pixels, one square picture after another")
parser.add_argument("--tile-px", type=int, required=True, help="pixels of a picture's side")
parser.add_argument("--recipe", required=True, help="JSON of the arguments of `SimCLRTransform`")
args = parser.parse_args()
torch.set_num_threads(1)
pixels = numpy.fromfile(args.tiles, numpy.uint8).reshape(-1, args.tile_px, args.tile_px, 3)
tiles = [Image.fromarray(tile) for tile in pixels]
transform = SimCLRTransform(**json.loads(args.recipe))


def work(pictures):
    for number in range(pictures):
        transform(tiles[number % len(tiles)])


work(len(tiles) // 8)
slices.answer(work, lightly=lightly.__version__)
