"""Images of CDs, DVDs and other discs."""
