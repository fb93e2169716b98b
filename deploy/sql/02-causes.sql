-- Which handshakes were wasted, why, and what did they cost?
-- A race that only the server's other connections show is a server_abort in records;
-- the report, which has seen them all, settles it.
SELECT server_label, cause, count(*) AS handshakes, sum(cost_nanoseconds) / 1e9 AS seconds
FROM connections
WHERE verdict = 'wasted' AND NOT estimated
GROUP BY server_label, cause
ORDER BY seconds DESC, server_label, cause;
