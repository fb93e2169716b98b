-- The table that the queries ask: all files below a folder that
-- --log-connections DIR/ --connections-format parquet fills, or that
-- 'keepscope read --output parquet --save FILE' wrote.
--   duckdb -cmd ".read duckdb.sql" -f 01-effectiveness.sql
CREATE OR REPLACE VIEW connections AS
SELECT *, coalesce(server_name, server.ip || ':' || server.port) AS server_label
FROM read_parquet('connections/**/*.parquet', union_by_name = true, hive_partitioning = false);
