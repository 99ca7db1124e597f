# /// script
# requires-python = ">=3.10"
# dependencies = ["idna"]
# ///
"""A program that names its own packages: `cargo xtask run docs/examples/script.py`."""

import idna

print(idna.encode("bücher.example").decode())
