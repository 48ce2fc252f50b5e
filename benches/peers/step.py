"""PyTorch's side of the training step: the same batch of views again and again."""

import argparse

import numpy
import torch

import simclr
import slices

SAME_STEPS = 10

parser = argparse.ArgumentParser(description=__doc__)
simclr.arguments(parser)
args = parser.parse_args()
learner = simclr.Simclr(args)
# Written channels last.
pixels = torch.from_numpy(numpy.fromfile(args.start / "views", numpy.float32))
views = pixels.view(2 * args.batch, args.px, args.px, 3).permute(0, 3, 1, 2)
views = views.contiguous(memory_format=learner.layout)
loss = [learner.step(views) for _ in range(SAME_STEPS)][-1]


def work(steps):
    for _ in range(steps):
        learner.step(views)


slices.answer(work, loss=loss, torch=torch.__version__)
