"""The same training step as curiod's, as PyTorch runs it eagerly: timm's ResNet of the same arguments, the same projector,
NT-Xent, clipping, AdamW and teacher, from the same first weights.

Always true: everything that PyTorch offers to make the step fast at these numerics is on: fused AdamW, foreach clipping
and teacher update, gradients set to none.
"""

import json
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

TEMPERATURE = 0.2
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def arguments(parser):
    """The arguments of every peer that trains."""
    parser.add_argument("--start", type=Path, required=True, help="folder of the network, its first weights and views")
    parser.add_argument("--batch", type=int, required=True, help="pictures of a step; two views each")
    parser.add_argument("--px", type=int, required=True, help="pixels of a view's side")
    parser.add_argument("--precision", choices=["fp32", "bf16"], required=True)
    parser.add_argument("--layout", choices=LAYOUTS, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="learning rate")
    parser.add_argument("--decay", type=float, required=True, help="weight decay")


class Simclr:
    """Student, teacher and optimiser."""

    def __init__(self, args):
        torch.set_num_threads(args.threads)
        config = json.loads((args.start / "config.json").read_text())
        self.encoder = timm.create_model(
            config["architecture"], pretrained=False, num_classes=0, **config["model_args"]
        )
        self.encoder.load_state_dict(load_file(args.start / "encoder.safetensors"))
        heads = load_file(args.start / "heads.safetensors")
        hidden, output = (f"projector.{name}.weight" for name in ("hidden", "output"))
        self.projector = torch.nn.Sequential(
            torch.nn.Linear(*heads[hidden].T.shape), torch.nn.ReLU(), torch.nn.Linear(*heads[output].T.shape)
        )
        names = {"0": "projector.hidden", "2": "projector.output"}
        self.projector.load_state_dict(
            {f"{ours}.{kind}": heads[f"{theirs}.{kind}"] for ours, theirs in names.items() for kind in ("weight", "bias")}
        )
        self.bf16 = args.precision == "bf16"
        self.layout = LAYOUTS[args.layout]
        self.encoder.to(memory_format=self.layout)
        self.params = [*self.encoder.parameters(), *self.projector.parameters()]
        self.student = list(self.encoder.parameters())
        self.teacher = [param.detach().clone() for param in self.student]
        self.optimiser = torch.optim.AdamW(self.params, lr=args.rate, weight_decay=args.decay, fused=True)
        self.steps = 0

    def step(self, views):
        """One step on `views` [2B, 3, px, px], first views first; gives the loss."""
        self.steps += 1
        self.optimiser.zero_grad(set_to_none=True)
        views = views.contiguous(memory_format=self.layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            projections = self.projector(self.encoder(views))
        loss = nt_xent(projections.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
        self.optimiser.step()
        decay = min(0.999, self.steps / (9 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.teacher, self.student, 1 - decay)
        return loss.item()


def nt_xent(projections):
    """NT-Xent (Chen et al. 2020, eq. 1) of [2B, P]."""
    rows = len(projections)
    z = F.normalize(projections, dim=1)
    similarity = z @ z.T / TEMPERATURE
    similarity.fill_diagonal_(float("-inf"))
    partner = (torch.arange(rows) + rows // 2) % rows
    return F.cross_entropy(similarity, partner)
