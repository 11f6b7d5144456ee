"""What has to be noted the moment the package is imported, because it can change before the first worker starts."""

from __future__ import annotations

import os

try:
    #: Relative entries of ``sys.path`` mean this folder, wherever the program has gone since.
    directory = os.getcwd()
except OSError:  # the folder has been deleted: absolute entries still work
    directory = ""
