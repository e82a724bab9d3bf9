-- What a remote last gave for each dist, for the guards to compare with.

-- name: get_now
-- Dates are judged by Postgres's clock, which all workers share.
select clock_timestamp() as now;

-- name: list_seen
select directory, date, codename, origin, label, packages, taken
  from seen_releases where remote = %(remote)s and url = %(url)s;

-- name: see_releases
insert into seen_releases (remote, url, directory, date, codename, origin, label)
select %(remote)s, %(url)s, directory, date, codename, origin, label
  from unnest(%(directories)s::text[], %(dates)s::timestamptz[], %(codenames)s::text[],
              %(origins)s::text[], %(labels)s::text[]) as r (directory, date, codename, origin, label)
    on conflict (remote, texts_key(url, directory)) do update
   set date = excluded.date, codename = excluded.codename, origin = excluded.origin,
       label = excluded.label, seen = now();

-- name: count_listed
-- Packages that the sync takes of each dist; none where an index is not at hand to be counted.
select w.directory, sum(coalesce(c.packages, 0))::bigint as packages
  from wanted_indices w
  left join lateral (select sum(bit_count(k.bits)) as packages from index_chunks k
                      where k.index = w.index and k.kind = 1
                        and (w.accept is null or k.architecture = any(w.accept))) c on true
 where w.task = %(task)s
 group by w.directory
having bool_and(w.index is not null or w.state = 'missing');

-- name: see_counts
update seen_releases s set packages = c.packages, taken = %(taken)s
  from unnest(%(directories)s::text[], %(packages)s::bigint[]) as c (directory, packages)
 where s.remote = %(remote)s and s.url = %(url)s and s.directory = c.directory;

-- name: refuse_files
-- Upstream does not have these, or has others.
update task_files f set refused = r.reason
  from unnest(%(digests)s::bytea[], %(reasons)s::text[]) as r (sha256, reason)
 where f.task = %(task)s and f.sha256 = r.sha256;

-- name: count_refused_files
-- What another sync stored meanwhile is not missing, unless this remote was to show it.
select count(*) as count from task_files f
 where f.task = %(task)s and f.refused is not null
   and (f.must_see or not exists (select from artifacts a where a.sha256 = f.sha256));

-- name: list_refused_files
select f.path as file, f.refused as detail from task_files f
 where f.task = %(task)s and f.refused is not null
   and (f.must_see or not exists (select from artifacts a where a.sha256 = f.sha256))
 order by f.path limit %(most)s;
