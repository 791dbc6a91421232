"""The demo's own small base model, its generated corpus, and the run behind `make demo`."""
