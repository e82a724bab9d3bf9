-- What is asked for by nobody: cleaning up, and looking whether what is stored is whole.

-- name: find_cleanup_due
-- A row: no cleanup was asked for in so long. Counted from the beginning, so that a new
-- installation does not begin with one.
select extract(epoch from clock_timestamp())::bigint / (%(hours)s * 3600) as turn
  from installation i
 where clock_timestamp() - greatest(i.created, (select max(created) from tasks where kind = 'orphans'))
       > make_interval(hours => %(hours)s)
   and not exists (select from tasks where kind = 'orphans' and finished is null);

-- name: find_verification_due
-- The latest version of the repository that nobody looked into for longest. One at a time.
select r.id as repository, r.uuid, v.number,
       extract(epoch from clock_timestamp())::bigint / (%(hours)s * 3600) as turn
  from repositories r
  join lateral (select number, created from repository_versions v
                 where v.repository = r.id order by number desc limit 1) v on v.number > 0
  left join lateral (select max(t.created) as looked from tasks t
                      where t.kind = 'repair' and (t.args ->> 'repository')::int = r.id) l on true
 where clock_timestamp() - coalesce(l.looked, v.created) > make_interval(hours => %(hours)s)
   and not exists (select from tasks t where t.kind = 'repair' and t.finished is null)
 order by coalesce(l.looked, v.created), r.id limit 1;
