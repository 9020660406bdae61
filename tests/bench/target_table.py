"""Figures beside their targets, as a Markdown table."""


class Table:
    """Figures beside their targets."""

    def __init__(self, say):
        self._say = say
        self.lines = []
        self.missed = 0

    def add(self, what, figure, target, met):
        self.missed += met is False
        verdict = {True: "yes", False: "NO", None: ""}[met]
        self.lines.append((what, figure, target, verdict))
        self._say(f"{what}: {figure} (target: {target}) {verdict}")

    def failed(self, what, error):
        self.add(what, f"failed: {str(error).splitlines()[0]}", "", False)

    def markdown(self):
        rows_of = [("what", "figure", "target", "met"), ("---",) * 4, *self.lines]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in rows_of)
