CREATE TABLE IF NOT EXISTS embedding_fingerprints (
    fingerprint TEXT PRIMARY KEY
);
