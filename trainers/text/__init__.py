"""Raw text: find and read files, clean, drop duplicates, split, tokenize and pack."""
