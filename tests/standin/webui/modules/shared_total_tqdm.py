"""The console's bar over all jobs; nothing is drawn here, but counted."""

from types import SimpleNamespace

from modules import shared


class TotalTQDM:
    def __init__(self):
        self._tqdm = None

    def reset(self):
        total = shared.state.job_count * shared.state.sampling_steps
        self._tqdm = SimpleNamespace(n=0, total=total)

    def update(self):
        if self._tqdm is None:
            self.reset()
        self._tqdm.n += 1

    def updateTotal(self, new_total):
        if self._tqdm is None:
            self.reset()
        self._tqdm.total = new_total

    def clear(self):
        self._tqdm = None
