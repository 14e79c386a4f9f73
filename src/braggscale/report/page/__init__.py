"""Makes the HTML page from the summary, one module for each topic."""
