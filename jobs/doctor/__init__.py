"""`raysmith doctor`: looks at this machine, and at a cluster or a job if one is named; says what to do."""
