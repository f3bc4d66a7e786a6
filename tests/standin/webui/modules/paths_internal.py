import tempfile
from pathlib import Path

script_path = str(Path(__file__).parents[1])
data_path = str(Path(tempfile.gettempdir()) / "webui-standin")
models_path = str(Path(data_path) / "models")
extensions_dir = str(Path(data_path) / "extensions")
