"""Reader studies: drawn blinded and balanced, read by people, analysed as statisticians expect."""
