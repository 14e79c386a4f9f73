"""What people read: tables, the log, and the summary for programs."""
