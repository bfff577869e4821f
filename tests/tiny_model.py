"""A Llama of random weights and a few thousand parameters, for what does not need a model that can speak."""

from __future__ import annotations


def save(folder, tokenizer, *, seed, vocabulary=4096, template=None):
    """Write model and tokenizer as `from_pretrained` reads them; the tokenizer's file is `tokenizer` byte for byte.

    Args:
        folder: where to.
        tokenizer: a tokenizer.json.
        seed: of the weights.
        vocabulary: rows of the embedding.
        template: chat template, or None.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.3,  # laws that differ much from row to row
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer))
    names = fast.convert_ids_to_tokens([0, 1])
    fast.bos_token, fast.eos_token = names
    if template:
        fast.chat_template = template
    fast.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return folder
