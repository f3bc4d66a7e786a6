"""The extension inside the WebUI: the only part that knows the host (`modules`) and `gradio`."""
