"""The composition root: the command line, job configuration, the stages of a job, and reports."""
