from . import external, sampling, utils
