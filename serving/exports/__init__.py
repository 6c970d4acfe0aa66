"""Take a model out of Raysmith: folders that other servers open, each with what was checked written beside it."""
