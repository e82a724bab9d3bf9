-- What the sweeper looks up for metrics, set-based. Nothing here locks a row.

-- name: bound
-- A look is never worth more than this.
SET LOCAL statement_timeout = '20s'

-- name: count_jobs
-- Ready: any worker that has time may take it. Its slots are not looked at: they are busy then.
SELECT kind, count(*) FILTER (WHERE state = 'running') AS running,
       count(*) FILTER (WHERE state = 'queued' AND is_ready) AS ready,
       count(*) FILTER (WHERE state = 'queued' AND NOT is_ready) AS held,
       coalesce(extract(epoch FROM clock_timestamp()
                - min(since) FILTER (WHERE state = 'queued' AND is_ready)), 0)::float8 AS oldest
  FROM (SELECT j.kind, j.state, greatest(j.created, j.not_before, t.unblocked) AS since,
               t.unblocked IS NOT NULL AND j.not_before <= clock_timestamp()
               AND NOT EXISTS (SELECT FROM gates g
                                WHERE g.scope = j.host AND g.closed_until > clock_timestamp())
               AS is_ready
          FROM jobs j JOIN tasks t ON t.id = j.task
         WHERE j.state IN ('queued', 'running') AND t.finished IS NULL AND t.round = j.round) open
 GROUP BY kind

-- name: count_tasks
SELECT state, count(*) AS tasks FROM tasks WHERE finished IS NULL GROUP BY state

-- name: count_processes
SELECT kind, count(*) AS processes FROM processes
 WHERE ended IS NULL AND last_heartbeat > clock_timestamp() - interval '30 s'
 GROUP BY kind

-- name: count_repositories
SELECT count(*) AS repositories FROM repositories

-- name: list_repositories
-- The first so many; packages of the latest version, 0 where it has none.
SELECT r.name, r.uuid, extract(epoch FROM s.succeeded)::float8 AS succeeded,
       coalesce(s.failures, 0) AS failures, coalesce(c.present, 0) AS packages
  FROM repositories r
  LEFT JOIN sync_states s ON s.repository = r.id
  LEFT JOIN LATERAL (SELECT v.number FROM repository_versions v WHERE v.repository = r.id
                      ORDER BY v.number DESC LIMIT 1) latest ON true
  LEFT JOIN version_counts c
    ON c.repository = r.id AND c.number = latest.number AND c.kind = 1
 ORDER BY r.id LIMIT %(most)s

-- name: list_upstream_dates
-- Of the Release files in the latest versions: the newest Date, the earliest Valid-Until.
WITH held AS MATERIALIZED (
  SELECT c.repository, id_at(c.chunk, i) AS id
    FROM repository_chunks c JOIN content_lists l ON l.id = c.list AND l.kind = 4
   CROSS JOIN generate_series(0, chunk_size() - 1) i
   WHERE c.removed IS NULL AND get_bit(c.bits, i) = 1)
SELECT r.name, r.uuid, extract(epoch FROM max(f.date))::float8 AS date,
       extract(epoch FROM min(f.valid_until))::float8 AS valid_until
  FROM held JOIN release_files f USING (id) JOIN repositories r ON r.id = held.repository
 GROUP BY r.id ORDER BY r.id LIMIT %(most)s

-- name: measure_store
-- Reads the whole table: the observer sees to it that this is rare where it is long.
SELECT count(*) AS artifacts, coalesce(sum(size), 0)::float8 AS bytes FROM artifacts
