"""A ready machine becomes a node, and stops being one."""
