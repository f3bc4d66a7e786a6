"""The console's bar over all jobs; nothing is drawn here, but counted."""

from modules import shared


class TotalTQDM:
    def __init__(self):
        self._tqdm = None
        self._total = None
        self._done = 0

    def reset(self):
        self._total, self._done = shared.state.job_count * shared.state.sampling_steps, 0

    def update(self):
        self._done += 1

    def updateTotal(self, new_total):
        self._total = new_total

    def clear(self):
        self._total, self._done = None, 0
