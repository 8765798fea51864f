"""``python -m bgrem`` is the ``bgrem`` command."""

import sys

from bgrem.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
