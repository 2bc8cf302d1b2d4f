CREATE TABLE IF NOT EXISTS embedding_metrics (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    seconds REAL NOT NULL
);
