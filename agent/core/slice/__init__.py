"""What Cloudlab holds for us."""
