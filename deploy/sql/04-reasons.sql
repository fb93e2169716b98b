-- Who ends connections, and why?
SELECT server_label, closed_by, reason, count(*) AS connections
FROM connections
GROUP BY server_label, closed_by, reason
ORDER BY connections DESC, server_label, closed_by, reason;
