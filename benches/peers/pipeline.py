"""lightly's side of the whole pipeline: pictures of a folder, `SimCLRTransform` in DataLoader workers, the training step."""

import argparse
import itertools
import json

import lightly
import torch
from lightly.transforms import SimCLRTransform
from torchvision.datasets import ImageFolder

import simclr
import slices

parser = argparse.ArgumentParser(description=__doc__)
simclr.arguments(parser)
parser.add_argument("--pictures", required=True, help="folder of folders of pictures")
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--recipe", required=True, help="JSON of the arguments of `SimCLRTransform`")
args = parser.parse_args()
learner = simclr.Simclr(args)
transform = SimCLRTransform(**json.loads(args.recipe))
loader = torch.utils.data.DataLoader(
    ImageFolder(args.pictures, transform),
    batch_size=args.batch,
    shuffle=True,
    drop_last=True,
    num_workers=args.workers,
    persistent_workers=True,
)
batches = itertools.chain.from_iterable(itertools.repeat(loader))


def work(steps):
    for (first, second), _ in itertools.islice(batches, steps):
        learner.step(torch.cat([first, second]))


work(3)
slices.answer(work, torch=torch.__version__, lightly=lightly.__version__)
