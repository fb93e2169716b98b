-- Which connection could have carried the request, and until when was it there?
SELECT w.id, w.start, w.server_label, w.client.ip AS client, w.cause,
       w.could_reuse.id AS other, w.could_reuse.client_port AS other_port, w.could_reuse.usable_until AS usable_until,
       o.requests AS other_requests
FROM connections AS w LEFT JOIN connections AS o ON o.id = w.could_reuse.id
WHERE w.verdict = 'wasted' AND NOT w.estimated
ORDER BY w.cost_nanoseconds DESC, w.id
LIMIT 20;
