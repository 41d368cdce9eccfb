"""What several kinds of format share about one platform or medium. No family imports another."""
