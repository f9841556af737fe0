"""What somebody else does: an administrator, a portal, another user."""
