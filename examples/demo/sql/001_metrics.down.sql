DROP TABLE IF EXISTS embedding_metrics;
