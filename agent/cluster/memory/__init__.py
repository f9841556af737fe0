"""All that is remembered, behind one lock."""
