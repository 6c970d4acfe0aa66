"""What every other part stands on: config, errors, storage, artifacts, Ray connection. No torch here."""
