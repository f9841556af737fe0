"""A file for each section of agent.conf that the cluster is run by."""
