"""Embeds texts with a published model's folder by sentence-transformers and by transformers, with no code of the daemon's.

    python3 sentence_parity.py DIR TEXT...

Prints JSON: for each of the two libraries a list with one unit vector for each text.
"""

import json
import sys

import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer


def sentence_transformers(folder, texts):
    return SentenceTransformer(folder, device="cpu").encode(texts).tolist()


def transformers(folder, texts):
    """The mean of the last layer over the tokens that are there, as the model's card tells."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    read = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        tokens = model(**read).last_hidden_state
    there = read["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((tokens * there).sum(1) / there.sum(1)).tolist()


def main(folder, *texts):
    ways = [sentence_transformers, transformers]
    print(json.dumps({way.__name__: way(folder, list(texts)) for way in ways}))


if __name__ == "__main__":
    main(*sys.argv[1:])
