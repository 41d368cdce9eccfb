"""Images of GameCube, Wii and Wii U discs."""
