"""What a round's seed decides: when the power goes, and what the disk keeps of what was not synced."""

import random
from dataclasses import dataclass

_MOMENT_SECONDS_MAX = 1.5
# Recovery and what it syncs: new segments, the store's flush.
_STARTUP_BOUNDARIES = 40
_STRICT_SHARE = 0.25


@dataclass
class Plan:
    seed: int
    cut_at: str | None  # for POWERCUT_CUT_AT
    moment_seconds: float | None  # or: this long after the first acknowledgement
    restore_seed: int  # 0: nothing unsynced is kept

    def __str__(self):
        when = self.cut_at or f"{self.moment_seconds:.2f} s after the first 250"
        kept = "nothing" if self.restore_seed == 0 else f"a part (seed {self.restore_seed})"
        return f"cut {when}, {kept} unsynced kept"


def of_round(seed, boundaries, strict=False, cut_at=None):
    """`boundaries`: how many a whole round has; one of them is drawn. cut_at overrides what is drawn."""
    rng = random.Random(seed)
    kind = rng.choices(("moment", "boundary", "startup"), (30, 58, 12))[0]
    side = rng.choice(("before", "after"))
    fraction = rng.random()
    restore_seed = 0 if rng.random() < _STRICT_SHARE or strict else 1 + seed
    if cut_at is None and kind == "moment":
        return Plan(seed, None, fraction * _MOMENT_SECONDS_MAX, restore_seed)
    number = 1 + int(fraction * (boundaries if kind == "boundary" else _STARTUP_BOUNDARIES))
    return Plan(seed, cut_at or f"{side}:{number}", None, restore_seed)
