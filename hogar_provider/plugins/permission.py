"""What FAB's roles hold to see graphs, and to change them."""

from __future__ import annotations

RESOURCE = "HOGAR"
"""The resource's name."""

ACTIONS = ("can_read", "can_edit")
"""To see, and to change."""
