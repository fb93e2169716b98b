-- Which clients waste most, and with what software?
SELECT client.ip AS client, max(software.client) AS software, server_label,
       count(*) AS connections,
       sum(CASE WHEN verdict = 'wasted' THEN 1 ELSE 0 END) AS wasted,
       sum(CASE WHEN verdict = 'wasted' THEN cost_nanoseconds ELSE 0 END) / 1e9 AS seconds
FROM connections
WHERE NOT estimated
GROUP BY client.ip, server_label
ORDER BY wasted DESC, seconds DESC, client, server_label
LIMIT 20;
