"""Pairs of runs: calibrates how many messages a side needs, then alternates the sides.

Each side has a count of its own, so that each run lasts as long as was asked for. The order
within pairs changes from pair to pair: what drifts in the machine meets both sides.
"""

import dataclasses
import math
import statistics
import sys

import measure
import rows

_CALIBRATION_MESSAGES = 400
_CALIBRATION_SECONDS = 4.0
_MARGIN = 1.25  # so that a faster run still lasts the asked time
_REPEATS_MAX = 2  # of a run that was shorter
_MESSAGES_MIN = 50


@dataclasses.dataclass
class Options:
    pairs: int = 5
    seconds: float = 30.0
    repeat_short_runs: bool = True


class Side:
    """One MTA in the comparison: how it is started, and its rates as known so far."""

    def __init__(self, label, node_class):
        self.label = label
        self.node_class = node_class
        self._rates = {}  # row name -> greatest rate seen
        self.median_rates = {}  # row name -> median of its measured runs

    def known_rate(self, row):
        return self._rates.get(row.name)

    def learn(self, result):
        self._rates[result.row] = max(result.rate, self._rates.get(result.row, 0.0))


@dataclasses.dataclass
class Outcome:
    """A row's runs: pairs[i] holds a Result for each label."""

    row: rows.Row
    pairs: list

    def values(self, label, read):
        return [read(pair[label]) for pair in self.pairs]

    def median(self, label, read):
        return statistics.median(self.values(label, read))

    def median_ratio(self, over, under, read):
        """The median of the ratios within pairs."""
        return statistics.median(read(pair[over]) / read(pair[under]) for pair in self.pairs)

    def results(self):
        return [result for pair in self.pairs for result in pair.values()]


def say(text):
    print(text, file=sys.stderr, flush=True)


def _describe(side, result):
    drained = ""
    if result.drained_seconds > result.seconds * 1.05:
        drained = f", all outcomes after {result.drained_seconds:.1f} s"
    notes = f" [{'; '.join(result.notes)}]" if result.notes else ""
    return (f"  {side.label:10} {result.row}: {result.messages} messages in {result.seconds:5.1f} s: "
            f"{result.rate:6.0f}/s, CPU {result.cpu_per_thousand:.2f} s per 1,000, "
            f"{result.peak_memory_bytes / 1e6:.0f} MB{drained}{notes}")


class Comparison:
    """Runs rows for one or two sides."""

    def __init__(self, sides, setup, options):
        self._sides = sides
        self._setup = setup
        self._options = options

    def run(self, row):
        """An Outcome; raises what measure() raises."""
        say(f"{row.name}: {row.meaning}")
        for side in self._sides:
            self.calibrate(side, row)
        outcome = Outcome(row, [])
        for number in range(self._options.pairs):
            order = self._sides if number % 2 == 0 else self._sides[::-1]
            outcome.pairs.append({side.label: self.measure(side, row) for side in order})
        for side in self._sides:
            side.median_rates[row.name] = outcome.median(side.label, lambda result: result.rate)
        return outcome

    def _pace(self, side, row):
        if not row.paced:
            return None
        return rows.PACE_SHARE * side.median_rates[rows.PACE_REFERENCE]

    def calibrate(self, side, row):
        """Two short runs: starting up dominates the first."""
        if row.paced:
            self._learn_pace_reference(side)
            return
        if side.known_rate(row) is not None or row.count:
            return
        first = self._try(side, row, _CALIBRATION_MESSAGES)
        seconds = min(_CALIBRATION_SECONDS, self._options.seconds)
        count = max(_MESSAGES_MIN, math.ceil(first.rate * seconds))
        side.learn(self._try(side, row, count))

    def _learn_pace_reference(self, side):
        """The row that a pace is taken from may not have been asked for."""
        reference = rows.row_named(rows.PACE_REFERENCE)
        if reference.name not in side.median_rates:
            self.calibrate(side, reference)
            result = self.measure(side, reference)
            side.median_rates[reference.name] = result.rate

    def _try(self, side, row, count):
        return measure.measure(side.node_class, row, count, self._setup)

    def measure(self, side, row):
        """One run that lasts the asked time; shorter ones are told and done again with more."""
        repeats = _REPEATS_MAX if self._options.repeat_short_runs else 0
        while True:
            result = self._measure_once(side, row)
            if result.seconds >= self._options.seconds or row.paced or row.count or repeats == 0:
                return result
            say("    too short: done again with more messages")
            repeats -= 1

    def _count(self, side, row, pace):
        if row.count:
            return row.count
        rate = pace if pace is not None else side.known_rate(row) * _MARGIN
        return max(_MESSAGES_MIN, math.ceil(rate * self._options.seconds))

    def _measure_once(self, side, row):
        pace = self._pace(side, row)
        result = measure.measure(side.node_class, row, self._count(side, row, pace), self._setup, pace)
        side.learn(result)
        say(_describe(side, result))
        return result
