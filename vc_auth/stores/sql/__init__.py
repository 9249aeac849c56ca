"""Projects and keys in an SQL database, and the feed of what others change there."""

from vc_auth.stores.sql.store import SQLKeyStore

__all__ = ["SQLKeyStore"]
