"""What an image looks like as a tree of files; the front ends only translate it."""
