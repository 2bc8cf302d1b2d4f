CREATE TABLE enrichment_runs (session TEXT NOT NULL, at REAL NOT NULL);
