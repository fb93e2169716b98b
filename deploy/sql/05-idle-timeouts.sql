-- After what idle time does a server close, and what does it announce?
SELECT server_label, count(*) AS closings,
       median(close_idle_nanoseconds) / 1e9 AS median_seconds,
       max(advertised.timeout_seconds) AS advertised_seconds
FROM connections
WHERE reason = 'server_idle'
GROUP BY server_label
ORDER BY closings DESC, server_label;
