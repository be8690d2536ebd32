"""What `holdfast --version` prints: the version, and which of the two twins is in use, and why."""

from holdfast import __version__
from holdfast.tasks.twins import why_pure

VERSION = f"holdfast {__version__} ({f'pure Python: {why_pure}' if why_pure else 'compiled'})"
