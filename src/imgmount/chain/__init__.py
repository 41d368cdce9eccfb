"""From a path to volumes: the file, its containers, its partition table, its file systems, and the parents of layered disks."""
