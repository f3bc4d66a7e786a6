class StyleDatabase:
    """Styles by name: what they make of a prompt."""

    def __init__(self, paths):
        self.paths = paths
        self.styles = {}

    def apply_styles_to_prompt(self, prompt, styles):
        return ", ".join([prompt, *(self.styles[name][0] for name in styles)])

    def apply_negative_styles_to_prompt(self, prompt, styles):
        return ", ".join([prompt, *(self.styles[name][1] for name in styles)])
