-- What does a handshake take, and is TLS resumed?
SELECT server_label, count(handshake_nanoseconds) AS tcp, median(handshake_nanoseconds) / 1e9 AS tcp_median_seconds,
       sum(CASE WHEN tls.handshake_nanoseconds IS NOT NULL AND NOT tls.resumed THEN 1 ELSE 0 END) AS tls_full,
       sum(CASE WHEN tls.handshake_nanoseconds IS NOT NULL AND tls.resumed THEN 1 ELSE 0 END) AS tls_resumed,
       sum(CASE WHEN handshake = 'refused' THEN 1 ELSE 0 END) AS refused,
       sum(CASE WHEN handshake = 'unanswered' THEN 1 ELSE 0 END) AS unanswered
FROM connections
GROUP BY server_label
ORDER BY tcp DESC, server_label;
