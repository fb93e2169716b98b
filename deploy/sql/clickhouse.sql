-- The table that the queries ask: all files below a folder that
-- --log-connections DIR/ --connections-format parquet fills, or that
-- 'keepscope read --output parquet --save FILE' wrote. A server reads them with s3() or
-- url() in place of file().
--   cat clickhouse.sql 01-effectiveness.sql | clickhouse local
CREATE OR REPLACE VIEW connections AS
SELECT *, coalesce(server_name, concat(server.ip, ':', toString(server.port))) AS server_label
FROM file('connections/**/*.parquet', Parquet);
