"""Draw docs/tour.svg: what `vc-auth demo --once` shows, as it showed it. Run `python docs/tour.py`."""

import re
import sys
from pathlib import Path

from rich.console import Console

from vc_auth.cli.demo import run

PICTURE = Path(__file__).with_name("tour.svg")

console = Console(record=True, width=84, force_terminal=True, color_system="truecolor", highlight=False)
if run(console, "127.0.0.1", 0, once=True) != 0:
    sys.exit("the tour failed, so there is no picture of it")
svg = console.export_svg(title="vc-auth demo --once")
# A picture in a README may load nothing, so it asks for the reader's own monospace font.
PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))
