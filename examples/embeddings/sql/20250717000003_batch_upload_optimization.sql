-- Batches
CREATE TABLE IF NOT EXISTS batch_upload_sessions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    profile text NOT NULL CHECK (profile IN ('conservative', 'balanced', 'aggressive')),
    documents integer NOT NULL CHECK (documents >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
