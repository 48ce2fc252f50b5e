"""What Python's AutoTokenizer gives for texts: reads {"dir", "texts"} and prints the ids of each text, of each text with
the one after it as a pair, and the ids and names of the special tokens."""

import json
import sys

from transformers import AutoTokenizer

asked = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(asked["dir"], local_files_only=True)
texts = asked["texts"]
pairs = [tokenizer(a, b) for a, b in zip(texts, texts[1:])]
json.dump(
    {
        "single": [tokenizer(text)["input_ids"] for text in texts],
        "pair": [pair["input_ids"] for pair in pairs],
        "types": [pair["token_type_ids"] for pair in pairs],
        "special": [getattr(tokenizer, f"{role}_token_id") for role in ("pad", "unk", "cls", "sep", "mask")],
        "decoded": [tokenizer.decode(tokenizer(text)["input_ids"][1:-1]) for text in texts],
        "max": tokenizer.model_max_length,
    },
    sys.stdout,
)
