-- How much of the reuse that was possible did clients of each server have?
SELECT server_label,
       sum(requests) AS requests,
       sum(reused_requests) AS reused,
       sum(CASE WHEN verdict = 'wasted' THEN 1 ELSE 0 END) AS wasted,
       round(sum(reused_requests) / nullif(sum(reused_requests) + sum(CASE WHEN verdict = 'wasted' THEN 1 ELSE 0 END), 0), 4) AS effectiveness
FROM connections
WHERE NOT estimated
GROUP BY server_label
ORDER BY wasted DESC, server_label;
