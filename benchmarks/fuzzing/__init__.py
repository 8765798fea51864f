# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What ``benchmarks/fuzz.py`` feeds to the package, and how it judges the results."""
