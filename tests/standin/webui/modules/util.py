"""Files of a folder, in the host's order."""

import os
import re
from pathlib import Path


def natural_sort_key(s, regex=re.compile("([0-9]+)")):
    return [int(part) if part.isdigit() else part.lower() for part in regex.split(s)]


def listfiles(dirname):
    """Those beside each other, hidden ones left out."""
    paths = [path for path in Path(dirname).iterdir() if not path.name.startswith(".")]
    ordered = sorted(paths, key=lambda path: natural_sort_key(path.name))
    return [str(path) for path in ordered if path.is_file()]


def walk_files(path, allowed_extensions=None):
    """Those of all folders below, too."""
    for root, _, names in sorted(os.walk(path), key=lambda one: natural_sort_key(one[0])):
        for name in sorted(names, key=natural_sort_key):
            found = Path(root, name)
            if allowed_extensions is None or found.suffix.lower() in allowed_extensions:
                yield str(found)
