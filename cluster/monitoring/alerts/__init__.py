"""Groups of alerts: each file holds one in `ALERTS`. A new group is a new file."""
