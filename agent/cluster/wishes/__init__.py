"""What people ask for, and what an earlier run left."""
