DROP TABLE IF EXISTS batch_upload_sessions;
