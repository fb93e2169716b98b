-- Who asks for the end of connections: client, server, or HTTP/1.0?
SELECT server_label,
       sum(negotiated.keep_alive) AS keep_alive, sum(negotiated.client_close) AS client_close,
       sum(negotiated.server_close) AS server_close, sum(negotiated.no_length) AS no_length,
       sum(negotiated.http10_not_requested) AS http10_not_requested, sum(negotiated.http10_declined) AS http10_declined
FROM connections
GROUP BY server_label
ORDER BY server_label;
