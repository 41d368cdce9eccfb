"""The host's side: files, sets of files, the files beside an image."""
