"""Replicas by what users feel: by requests under way, as Ray Serve has it, and by how long first tokens take.

    AutoscalingPolicy(policy_function=FirstTokenPolicy, policy_kwargs={"target_seconds": 2.0})

Requests under way say little where some prompts are long and others short. Runs in Serve's controller; replicas tell
their figure by `Replica.record_autoscaling_stats`.
"""

from typing import Any

from ray.serve.autoscaling_policy import replica_queue_length_autoscaling_policy
from ray.serve.config import AutoscalingContext

FIRST_TOKEN_SECONDS = "first_token_seconds"
_MOST_AT_ONCE = 2.0
"""As many times the replicas that run: those that start relieve nobody yet, and the figure stays high until they do."""
_ENOUGH = 0.5
"""Of the target; above it none is taken away."""


class FirstTokenPolicy:
    """A policy of Ray Serve by which first tokens are to take at most `target_seconds`, on the mean of the replicas."""

    def __init__(self, target_seconds: float) -> None:
        self._target = target_seconds

    def __call__(self, context: AutoscalingContext) -> tuple[int | float, dict[str, Any]]:
        """Return how many replicas are wanted, before Serve's delays and bounds, and Serve's own state."""
        wanted, state = replica_queue_length_autoscaling_policy(context)
        told = (context.aggregated_metrics or {}).get(FIRST_TOKEN_SECONDS) or {}
        running = context.current_num_replicas
        if not told or not running:
            return wanted, state
        ratio = sum(told.values()) / len(told) / self._target
        if ratio > 1:
            wanted = max(wanted, running * min(ratio, _MOST_AT_ONCE))
        elif ratio > _ENOUGH:
            wanted = max(wanted, running)
        return wanted, state
