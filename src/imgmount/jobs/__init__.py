"""What the commands do below their command lines: describe, verify and extract an image, from Python too."""
