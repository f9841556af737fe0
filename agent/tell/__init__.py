"""All that is told: figures, metrics, log, journal, mail."""
