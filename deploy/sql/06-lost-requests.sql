-- Where are requests lost to a closing that crossed them, or that the client overlooked?
SELECT server_label, reason, count(*) AS connections,
       max(close_idle_nanoseconds) / 1e9 AS longest_idle_seconds, min(id) AS example
FROM connections
WHERE reason IN ('race', 'stale_reuse', 'path_dropped', 'server_abort')
GROUP BY server_label, reason
ORDER BY connections DESC, server_label, reason;
