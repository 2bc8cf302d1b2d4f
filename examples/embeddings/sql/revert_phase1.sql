DROP TABLE IF EXISTS embedding_performance_metrics;
