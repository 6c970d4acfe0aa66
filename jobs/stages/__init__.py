"""The stages of a job, one file each, in the order in which `jobs.run` calls them."""
