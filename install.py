"""Run by the WebUI at its start: add what is missing, change nothing that is there.

The WebUI brings everything this extension needs, so on the versions in the README nothing is
installed. A failure is a message, never the end of the WebUI's start.
"""

import launch

MISSING_WITHOUT = {"open_clip": "choosing the best candidate by CLIP"}
PACKAGES = {"open_clip": "open_clip_torch"}

for module, purpose in MISSING_WITHOUT.items():
    if launch.is_installed(module):
        continue
    package = PACKAGES[module]
    try:
        # Without its dependencies: those include torch, which belongs to the WebUI.
        launch.run_pip(f"install --no-deps {package}", f"{package} for {purpose}")
    except Exception as error:
        print(f"Multi-Stage Blended Diffusion works without {purpose}; {package}: {error}")
