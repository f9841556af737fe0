"""What a person switches by hand: the control socket, its commands, the faults."""
