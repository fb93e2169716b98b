-- The same table for ClickHouse, from files below user_files_path. The queries use
-- standard SQL, and functions that both have.
CREATE OR REPLACE VIEW connections AS
SELECT *, coalesce(server_name, concat(assumeNotNull(server.ip), ':', toString(assumeNotNull(server.port)))) AS server_label
FROM file('connections/**.parquet', 'Parquet');
