"""Tiny models made on the spot, offline and seeded, that the real engine loads.

`scripted_model` is a machine rather than a network: its next token depends on the last one alone, by a table, so a test
knows every word that vLLM will answer, tool calls included.
"""

import json
from pathlib import Path

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] or '' }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
EOS = "<|im_end|>"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
"""The tool that `WEATHER_CALL` calls."""
WEATHER_CALL = (
    ("\n", "Thought: I need the weather."),
    ("Thought: I need the weather.", "\nAction: get_weather"),
    ("\nAction: get_weather", "\nAction Input: "),
    ("\nAction Input: ", '{"city": '),
    ('{"city": ', '"Paris"}'),
    ('"Paris"}', "\nObservation:"),
    ("\nObservation:", " invented"),
    ("}\n", "Thought: I now know the final answer."),
    ("Thought: I now know the final answer.", "\nFinal Answer: "),
    ("\nFinal Answer: ", "It is sunny"),
    ("It is sunny", " in Paris."),
    (" in Paris.", EOS),
)
"""After the assistant's opening newline a weather call; after a result line that ends in `}` the answer."""


def tiny_model(folder: Path, *, seed: int = 0) -> Path:
    """Write a randomly initialised Qwen2 with a byte-level tokenizer and a ChatML template; return `folder`."""
    import torch

    torch.manual_seed(seed)
    tokenizer = _write_tokenizer(folder)
    _model(len(tokenizer), hidden=64).save_pretrained(folder)
    return folder


def scripted_model(
    folder: Path,
    script: tuple[tuple[str, str], ...] = WEATHER_CALL,
    *,
    special: tuple[str, ...] = ("<|im_start|>", EOS),
    template: str = CHATML,
) -> Path:
    """Write a Qwen2 that follows `script`, pairs of (last token, next token); every other token ends the answer.

    A phrase of the script is one token, so it must be written the same way wherever it stands in a prompt. The first
    of the `special` tokens begins a text where the template says so, the last one ends an answer.
    """
    import torch

    phrases = tuple(dict.fromkeys(word for pair in script for word in pair if len(word) > 1 and word not in special))
    tokenizer = _write_tokenizer(folder, phrases, special, template)
    model = _model(len(tokenizer), hidden=-(-len(tokenizer) // 32) * 32)
    ids = {word: tokenizer.encode(word)[0] for pair in script for word in pair}
    end = tokenizer.eos_token_id
    following = dict.fromkeys(range(len(tokenizer)), end) | {ids[last]: ids[after] for last, after in script}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
        model.model.embed_tokens.weight.copy_(torch.eye(*model.model.embed_tokens.weight.shape))
        for last, after in following.items():
            model.lm_head.weight[after, last] = 1.0
    model.save_pretrained(folder)
    return folder


def tiny_adapter(folder: Path, base: Path, *, rank: int = 4, spread: float = 1.0) -> Path:
    """Write a LoRA adapter for `base` with random factors, strong enough to change what it says; return `folder`.

    With a `spread` of 0 it changes nothing.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2ForCausalLM

    torch.manual_seed(1)
    model = get_peft_model(
        Qwen2ForCausalLM.from_pretrained(base),
        LoraConfig(r=rank, lora_alpha=64, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=spread)
    model.save_pretrained(folder)
    return folder


def _model(vocabulary: int, *, hidden: int):  # type: ignore[no-untyped-def]
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=hidden // 32,
            num_key_value_heads=hidden // 32,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
        )
    )


def _write_tokenizer(  # type: ignore[no-untyped-def]
    folder: Path,
    phrases: tuple[str, ...] = (),
    special: tuple[str, ...] = ("<|im_start|>", EOS),
    template: str = CHATML,
):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {character: n for n, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(special))
    core.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases])
    begin, *_, end = special
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=begin, eos_token=end, pad_token=end, chat_template=template
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": tokenizer.eos_token_id}))
    return tokenizer
