CREATE TABLE IF NOT EXISTS embedding_queue (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    text TEXT NOT NULL
);
