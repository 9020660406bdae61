"""The table, the lines below it, and all figures as JSON."""

import dataclasses
import json
import os
import platform
import statistics

import rows


def _rate(result):
    return result.rate


def _cpu(result):
    return result.cpu_per_thousand


def _memory(result):
    return result.peak_memory_bytes / 1e6


def _number(value):
    return f"{value:,.0f}"


class Report:
    """Collects outcomes; `labels` are ours and theirs, or one label alone."""

    def __init__(self, labels, how_accounted):
        self._labels = labels
        self._how = how_accounted
        self._outcomes = []
        self._failures = []

    def add(self, outcome):
        self._outcomes.append(outcome)

    def add_failure(self, row, error):
        self._failures.append((row.name, str(error)))

    @property
    def failed(self):
        return bool(self._failures)

    def markdown(self):
        lines = [self._heading(), *map(self._line, self._outcomes), ""]
        lines += self._mixed_lines() + self._load_lines() + self._note_lines()
        lines += [f"- {name} failed: {error.splitlines()[0]}" for name, error in self._failures]
        return "\n".join(lines)

    def _heading(self):
        titles = ["work", *(f"{label} /s" for label in self._labels)]
        titles += ["ratio"] * (len(self._labels) - 1)
        titles += [f"CPU s per 1,000 {label}" for label in self._labels]
        titles += ["ratio"] * (len(self._labels) - 1)
        titles += [f"peak MB {label}" for label in self._labels]
        return f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"

    def _line(self, outcome):
        cells = [outcome.row.name]
        for read, form in ((_rate, _number), (_cpu, "{:.2f}".format)):
            cells += [form(outcome.median(label, read)) for label in self._labels]
            if len(self._labels) == 2:
                cells.append(f"{outcome.median_ratio(*self._labels, read):.2f}")
        cells += [_number(outcome.median(label, _memory)) for label in self._labels]
        return f"| {' | '.join(cells)} |"

    def _mixed_lines(self):
        lines = []
        for outcome in self._outcomes:
            for label in self._labels if outcome.row.watches_delays else ():
                results = [pair[label] for pair in outcome.pairs]
                shares = [result.first_attempts_in_time or 0.0 for result in results]
                delays = [result.first_attempt_p95_seconds or 0.0 for result in results]
                lines.append(
                    f"- {outcome.row.name}, {label}: offered {results[0].offered_rate or rows.SMALL_RATE:.0f}/s, reached "
                    f"{statistics.median(map(_rate, results)):.0f}/s; first attempts within "
                    f"{rows.FIRST_ATTEMPT_SECONDS:g} s: {100 * min(shares):.1f} % in the worst run; "
                    f"95 % start within {max(delays):.2f} s")
        return lines

    def _load_lines(self):
        """The tools share the cores with the MTA: their part, and ours."""
        results = [result for outcome in self._outcomes for result in outcome.results()]
        if not results:
            return []
        shares = []
        for name in ("source", "sink", "harness"):
            values = [getattr(result, f"{name}_cpu_seconds") * 1000 / result.messages
                      for result in results if name != "sink" or result.sink_cpu_seconds]
            if values:
                shares.append(f"{name} {statistics.median(values):.3f}")
        return [f"- CPU s per 1,000 messages of the load (median over all runs): {', '.join(shares)}",
                f"- CPU accounted by {self._how}; {os.cpu_count()} cores, {platform.release()}"]

    def _note_lines(self):
        lines = []
        for outcome in self._outcomes:
            for label in self._labels:
                results = [pair[label] for pair in outcome.pairs]
                seconds = [result.seconds for result in results]
                spread = [result.rate for result in results]
                lines.append(f"- {outcome.row.name}, {label}: {len(results)} runs of {min(seconds):.0f} to "
                             f"{max(seconds):.0f} s, {min(spread):.0f} to {max(spread):.0f}/s")
                lag = statistics.median(result.drained_seconds - result.seconds for result in results)
                if lag > 0.05 * statistics.median(seconds):
                    lines[-1] += f"; the last outcome is logged {lag:.1f} s after the end"
                notes = sorted({note for result in results for note in result.notes})
                lines += [f"  - {note}" for note in notes]
        return lines

    def write_json(self, path):
        runs = [dataclasses.asdict(result) | {"label": label, "rate": result.rate}
                for outcome in self._outcomes
                for pair in outcome.pairs for label, result in pair.items()]
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"runs": runs, "failures": self._failures}, out, indent=1)
            out.write("\n")
