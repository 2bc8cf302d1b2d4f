DROP TABLE IF EXISTS embedding_queue_workers;
