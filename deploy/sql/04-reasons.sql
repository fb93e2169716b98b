-- Who ends connections, and why?
-- A race that only the server's other connections show is a server_abort in records;
-- the report, which has seen them all, settles it.
SELECT server_label, closed_by, reason, count(*) AS connections
FROM connections
GROUP BY server_label, closed_by, reason
ORDER BY connections DESC, server_label, closed_by, reason;
