"""``python -m vc_auth.cli`` is ``vc-auth``."""

from vc_auth.cli import main

main()
