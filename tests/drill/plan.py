"""What a round's seed decides: when the power goes, and what the disk keeps of what was not synced."""

import random
from dataclasses import dataclass

_MOMENT_SECONDS_MAX = 1.5
# From the start of a command on all messages: its process, the job's first step, its last one.
_JOB_SECONDS_MAX = 0.2
# Recovery and what it syncs: new segments, the store's flush.
_STARTUP_BOUNDARIES = 40
_STRICT_SHARE = 0.25


@dataclass
class Plan:
    seed: int
    cut_at: str | None  # for POWERCUT_CUT_AT
    moment_seconds: float | None  # or: this long after the first acknowledgement
    job_seconds: float | None  # or: this long after the administrator's first command, a bulk job
    restore_seed: int  # 0: nothing unsynced is kept

    def __str__(self):
        when = self.cut_at
        if self.moment_seconds is not None:
            when = f"{self.moment_seconds:.2f} s after the first 250"
        if self.job_seconds is not None:
            when = f"{self.job_seconds:.3f} s after the start of a bulk job"
        kept = "nothing" if self.restore_seed == 0 else f"a part (seed {self.restore_seed})"
        return f"cut {when}, {kept} unsynced kept"


def of_round(seed, boundaries, strict=False, cut_at=None):
    """`boundaries`: how many a whole round has; one of them is drawn. cut_at overrides what is drawn."""
    rng = random.Random(seed)
    kind = rng.choices(("moment", "job", "boundary", "startup"), (20, 25, 43, 12))[0]
    side = rng.choice(("before", "after"))
    fraction = rng.random()
    restore_seed = 0 if rng.random() < _STRICT_SHARE or strict else 1 + seed
    if cut_at is None and kind == "moment":
        return Plan(seed, None, fraction * _MOMENT_SECONDS_MAX, None, restore_seed)
    if cut_at is None and kind == "job":
        return Plan(seed, None, None, fraction * _JOB_SECONDS_MAX, restore_seed)
    number = 1 + int(fraction * (boundaries if kind == "boundary" else _STARTUP_BOUNDARIES))
    return Plan(seed, cut_at or f"{side}:{number}", None, None, restore_seed)
