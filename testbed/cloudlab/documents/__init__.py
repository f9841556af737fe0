"""What is written and read: RSpecs and signed credentials."""
