"""What Cloudlab says."""
