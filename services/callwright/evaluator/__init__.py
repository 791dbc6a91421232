"""The evaluator: how well a model behind any OpenAI endpoint calls tools, and whether it may be promoted.

    rows = list(sets.read("held-out.jsonl", reading=sets.Reading()))
    report = evaluation.evaluate(base_url="http://127.0.0.1:8100/v1", model="m", rows=rows)
    gate.decide(finetune.spec.evaluate.gate, report).passed

`sets` and `formats` read rows, `asking` puts them to an `endpoint`, `answers` and `scoring` judge what comes,
`evaluation` runs it all and `measures` sums it up in a `report`; `compare`, `gate`, `findings` and `decision` draw the
conclusions, `figures`, `charts` and `pages` show them. `stage` does all of it for a run. The controller takes decisions
from stored reports: `report`, `gate` and `decision` import none of the rest.
"""
