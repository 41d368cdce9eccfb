"""What GameCube, Wii and Wii U formats share: disc headers, clusters and their hashes, title keys."""
