"""From the summary to the HTML page, one file a topic."""
