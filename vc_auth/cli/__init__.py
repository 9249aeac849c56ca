"""``vc-auth``: the command line."""
