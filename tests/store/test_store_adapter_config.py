"""An adapter's patterns: those that are in use are matched as PEFT matches them, and none takes long."""

import pytest

from callwright.errors import InvalidInput
from callwright.store import AdapterConfig

NAME = "base_model.model.model.layers.31.self_attn.q_proj"


@pytest.mark.parametrize(
    "pattern",
    [
        "q_proj",
        r".*\.q_proj",
        r"model.layers.(30|31|2).self_attn.q_proj",
        r".*layers.*(self_attn|EncDecAttention).*(q|v)_proj",
        r"(?!.*(?:vision|visual)).*\.(?:q_proj|k_proj)",
        r"(.*\.)?layers\.\d+\.self_attn\.(q_proj|v_proj)",
        r"layers\.[0-9]{1,2}\..*",
        r"(?:.*?(?:language|layers).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|k_proj|v_proj|"
        r"o_proj|gate_proj|up_proj|down_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|up_proj)))",
    ],
)
def test_an_ordinary_pattern_chooses_its_module(pattern: str) -> None:
    config = AdapterConfig.model_validate({"rank_pattern": {pattern: 2}, "target_modules": pattern})
    assert (config.rank(NAME), config.rank("lm_head")) == (2, 8)


@pytest.mark.parametrize("pattern", [".*.*.*.*x", "a?" * 20 + "a" * 20 + "x"])
def test_the_weightiest_pattern_that_is_taken_ends(pattern: str) -> None:
    assert AdapterConfig.model_validate({"rank_pattern": {pattern: 2}}).rank("a.a" * 30) == 8


def test_a_name_that_is_too_long_for_a_module_is_refused() -> None:
    config = AdapterConfig.model_validate({"alpha_pattern": {".*.*.*.*x": 2}})
    with pytest.raises(InvalidInput, match="a module's name has 5000 characters; expected at most 256"):
        config.scale("a" * 5000)
