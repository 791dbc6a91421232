"""The written cases of all dialects, those of native formats too."""

import gemma_cases
import llama_cases
import mistral_cases
import pythonic_cases
import qwen_xml_cases
from dialect_cases import CASES as OF_TEXT

CASES = (
    *OF_TEXT,
    *qwen_xml_cases.CASES,
    *gemma_cases.CASES,
    *llama_cases.CASES,
    *mistral_cases.CASES,
    *pythonic_cases.CASES,
)
