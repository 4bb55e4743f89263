"""Writes a tiny random Llama that real vLLM serves on a CPU. Run by the engine's own Python: tiny_model.py FOLDER.

It needs transformers and tokenizers, which come with vLLM, and nothing of Pennyweight. One token is one byte of text,
so prompt lengths are known exactly. Head size 64: vLLM's CPU attention kernels take 32 and up.
"""

import sys

from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BYTES = 256


def write(folder: str) -> None:
    """The model, its configuration and its tokenizer, in ``folder``."""
    vocabulary = {chr(byte): byte for byte in range(BYTES)} | {"<s>": BYTES, "</s>": BYTES + 1, "<unk>": BYTES + 2}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    wrapped.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=BYTES,
        eos_token_id=BYTES + 1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    write(sys.argv[1])
