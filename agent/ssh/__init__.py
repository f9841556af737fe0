"""Commands on many machines at once: bounded, timed, host keys checked."""
