"""From the result of a run to the numbers of the summary, one file a topic."""
