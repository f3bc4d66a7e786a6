class StableDiffusionModelHijack:
    circular_enabled = False
    optimization_method = None

    def __init__(self):
        self.extra_generation_params = {}
        self.comments = []

    def apply_circular(self, enable):
        self.circular_enabled = enable

    def clear_comments(self):
        self.comments = []
        self.extra_generation_params = {}


model_hijack = StableDiffusionModelHijack()
