"""Hugging Face's side of masked language modelling: the loop of `run_mlm_no_trainer.py` on blocks of tokens.

Always true: the same network, tokens, rows and share of hidden tokens as ours; the collator works in the process of the loop, as
there by default.
"""

import argparse
import itertools
import json
import pathlib

import numpy
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, DataCollatorForLanguageModeling, PreTrainedTokenizerFast

import slices

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--start", type=pathlib.Path, required=True, help="folder of config.json, tokenizer.json and blocks")
parser.add_argument("--precision", choices=["fp32", "bf16"], required=True)
parser.add_argument("--rows", type=int, required=True)
parser.add_argument("--tokens", type=int, required=True, help="tokens of a block")
parser.add_argument("--rate", type=float, required=True)
parser.add_argument("--decay", type=float, required=True)
parser.add_argument("--share", type=float, required=True, help="share of tokens that are hidden")
parser.add_argument("--threads", type=int, required=True)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(0)
config = BertConfig.from_dict(json.loads((args.start / "config.json").read_text()))
config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
model = BertForMaskedLM(config).train()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_file=str(args.start / "tokenizer.json"),
    **json.loads((args.start / "special_tokens_map.json").read_text()),
)
blocks = numpy.fromfile(args.start / "blocks", numpy.uint32).reshape(-1, args.tokens).astype(numpy.int64)
loader = torch.utils.data.DataLoader(
    [{"input_ids": block} for block in blocks.tolist()],
    batch_size=args.rows,
    shuffle=True,
    drop_last=True,
    collate_fn=DataCollatorForLanguageModeling(tokenizer, mlm_probability=args.share),
)
batches = itertools.chain.from_iterable(itertools.repeat(loader))
decayed = [variable for name, variable in model.named_parameters() if "bias" not in name and "LayerNorm" not in name]
others = [variable for name, variable in model.named_parameters() if "bias" in name or "LayerNorm" in name]
optimiser = torch.optim.AdamW(
    [{"params": decayed, "weight_decay": args.decay}, {"params": others, "weight_decay": 0.0}], lr=args.rate
)


def work(steps):
    for batch in itertools.islice(batches, steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()


work(3)
slices.answer(work, worth=args.rows * args.tokens, torch=torch.__version__, transformers=transformers.__version__)
