"""Training the same network under several losses, and the report that says which one won."""

from __future__ import annotations
