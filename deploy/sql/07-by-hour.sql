-- When was it?
SELECT date_trunc('hour', start) AS hour, count(*) AS connections, sum(requests) AS requests,
       sum(CASE WHEN verdict = 'wasted' THEN 1 ELSE 0 END) AS wasted
FROM connections
WHERE NOT estimated
GROUP BY date_trunc('hour', start)
ORDER BY hour;
