-- Queue
CREATE TABLE IF NOT EXISTS embedding_queue_workers (
    name text PRIMARY KEY,
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);
