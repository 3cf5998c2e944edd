"""How long resources take to become ready, from `infra/latencies.json`, times a scale."""

import json
import time
from pathlib import Path

LATENCIES = json.loads((Path(__file__).parent.parent / "latencies.json").read_text())

# 0: ready at once. 1: as long as on AWS. Changed at run time through the control API.
scale = 0.0
# The same for what a state machine waits: 1 is as written.
waits = 1.0


def ready(kind: str, since: float, share: float = 1.0) -> bool:
    """Whether a resource of this kind, begun at `since` (epoch seconds), has had (a share of) its time."""
    return time.time() - since >= LATENCIES[kind]["typical"] * scale * share
