"""How far a job is, and what the user wants of it."""

import time

from modules import errors, shared


class State:
    skipped = False
    interrupted = False
    stopping_generation = False
    job = ""
    job_no = 0
    job_count = 0
    processing_has_refined_job_count = False
    job_timestamp = "0"
    sampling_step = 0
    sampling_steps = 0
    current_latent = None
    current_image = None
    current_image_sampling_step = 0
    id_live_preview = 0
    textinfo = None
    time_start = None
    server_start = None

    def __init__(self):
        self.server_start = time.time()

    def skip(self):
        self.skipped = True

    def interrupt(self):
        self.interrupted = True

    def stop_generating(self):
        self.stopping_generation = True

    def nextjob(self):
        if shared.opts.live_previews_enable and shared.opts.show_progress_every_n_steps == -1:
            self.do_set_current_image()
        self.job_no += 1
        self.sampling_step = self.current_image_sampling_step = 0

    def dict(self):
        names = ("skipped", "interrupted", "stopping_generation", "job", "job_count",
                 "job_timestamp", "job_no", "sampling_step", "sampling_steps")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def begin(self, job: str = "(unknown)"):
        self.skipped = self.interrupted = self.stopping_generation = False
        self.processing_has_refined_job_count = False
        self.job = job
        self.job_count, self.job_no = -1, 0
        self.job_timestamp = time.strftime("%Y%m%d%H%M%S")
        self.time_start = time.time()
        self.sampling_step = self.current_image_sampling_step = self.id_live_preview = 0
        self.current_latent = self.current_image = self.textinfo = None

    def end(self):
        self.job = ""
        self.job_count = 0

    def set_current_image(self):
        """Renew the preview if enough steps were made since the last; the browser asks for it."""
        period = shared.opts.show_progress_every_n_steps
        waited = self.sampling_step - self.current_image_sampling_step
        wanted = shared.opts.live_previews_enable and period != -1
        if shared.parallel_processing_allowed and wanted and waited >= period:
            self.do_set_current_image()

    def do_set_current_image(self):
        if self.current_latent is None:
            return
        from modules import sd_samplers

        grid = shared.opts.show_progress_grid
        draw = sd_samplers.samples_to_image_grid if grid else sd_samplers.sample_to_image
        try:
            self.assign_current_image(draw(self.current_latent))
            self.current_image_sampling_step = self.sampling_step
        except Exception:
            errors.record_exception()

    def assign_current_image(self, image):
        if shared.opts.live_previews_image_format == "jpeg" and image.mode in ("RGBA", "P"):
            image = image.convert("RGB")
        self.current_image = image
        self.id_live_preview += 1
