"""Mistral's chat templates, as mistral-common makes them for each of its tokenizers' versions, and their tokens."""

SPECIAL = (
    *("<s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CONTENT]", "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
    *("[THINK]", "[/THINK]", "[MODEL_SETTINGS]", "[/MODEL_SETTINGS]", "</s>"),
)


def mistral_template(version: str) -> str:
    """Return the chat template of `v3`, `v7`, `v11`, `v13` or `v15`."""
    from mistral_common.integrations.chat_templates.template_generator import TemplateConfig, build_chat_template
    from mistral_common.tokens.tokenizers.base import TokenizerVersion

    own = {"v13": {"thinking_support": True}, "v15": {"thinking_support": True}}.get(version, {})
    if version == "v15":
        own |= {"reasoning_effort_values": ["none", "high"], "reasoning_effort_default": "none"}  # type: ignore[dict-item]
    return build_chat_template(TemplateConfig(version=TokenizerVersion(version), spm=False, **own))
