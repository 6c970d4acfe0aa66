"""Areas that `raysmith doctor` looks at, one file each."""
