-- Monitoring
CREATE TABLE IF NOT EXISTS embedding_performance_metrics (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    team text NOT NULL,
    seconds double precision NOT NULL CHECK (seconds >= 0),
    succeeded boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
