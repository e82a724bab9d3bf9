-- Heartbeats: who is alive. For people and the status page, never a right to work.

-- name: beat
-- Made at the first beat, renewed at each other. Nobody waits for the disk: what of it a crash of
-- Postgres takes with it, the next beat says again.
WITH hasty AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO processes (id, kind, name, versions)
SELECT %(id)s, %(kind)s, %(name)s, %(versions)s FROM hasty
ON CONFLICT (id) DO UPDATE SET last_heartbeat = clock_timestamp(), ended = NULL

-- name: end_process
UPDATE processes SET ended = clock_timestamp(), last_heartbeat = clock_timestamp()
 WHERE id = %(id)s AND ended IS NULL

-- name: list_online
SELECT kind, name, last_heartbeat, versions FROM processes
 WHERE ended IS NULL
   AND last_heartbeat > clock_timestamp()
       - CASE kind WHEN 'api' THEN interval '120 s' ELSE interval '30 s' END
 ORDER BY name
