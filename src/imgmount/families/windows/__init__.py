"""What Windows formats share.

Reparse points, security descriptors, FILETIME, and the codecs of WIM and NTFS.
"""
