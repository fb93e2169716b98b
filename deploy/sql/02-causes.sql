-- Which handshakes were wasted, why, and what did they cost?
SELECT server_label, cause, count(*) AS handshakes, sum(cost_nanoseconds) / 1e9 AS seconds
FROM connections
WHERE verdict = 'wasted' AND NOT estimated
GROUP BY server_label, cause
ORDER BY seconds DESC, server_label, cause;
