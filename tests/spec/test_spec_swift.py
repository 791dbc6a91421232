"""The table for those who come from ms-swift: every flag of the recipes, every field that training goes by."""

import re
from pathlib import Path

from pydantic.alias_generators import to_camel

from callwright.spec.model import Lora, Train

DOCS = Path(__file__).resolve().parents[2] / "docs"
TABLE, REFERENCE = ((DOCS / name).read_text(encoding="utf-8") for name in ("ms-swift.md", "finetune.md"))


def test_every_flag_of_the_recipes_has_its_place(shared: Path) -> None:
    recipes = "\n".join(path.read_text(encoding="utf-8") for path in sorted((shared / "seeds").iterdir()))
    flags = set(re.findall(r"(?<![-\w])--[a-z][a-z_-]+", recipes))
    assert len(flags) > 30
    assert {flag for flag in flags if not re.search(rf"{flag}\b", TABLE)} == set()


def test_every_field_that_training_goes_by_is_in_it() -> None:
    fields = [f"lora.{to_camel(name)}" for name in Lora.model_fields]
    fields += [f"train.{to_camel(name)}" for name in Train.model_fields]
    assert {path for path in fields if not re.search(rf"`{path}\b", TABLE)} == set()


def test_it_names_fields_that_there_are() -> None:
    named = re.findall(r"`((?:base|data|lora|train|resources)\.[A-Za-z.\[\]]+)", TABLE)
    assert len(named) > 40
    assert {path for path in named if f"| `spec.{path}` |" not in REFERENCE} == set()
