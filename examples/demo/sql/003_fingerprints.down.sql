DROP TABLE IF EXISTS embedding_fingerprints;
