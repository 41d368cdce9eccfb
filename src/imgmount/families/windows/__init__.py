"""What Windows formats share: reparse points, security descriptors, FILETIME, and the codecs of WIM and NTFS."""
