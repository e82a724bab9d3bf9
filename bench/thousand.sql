-- 1,000 repositories × 10 versions of 40 suites of 65,000 packages, as syncs would have left them.
-- Each version changes every chunk of its repository: the most that it can cost.

set work_mem = '256MB';
set maintenance_work_mem = '512MB';

-- Packages are made with their Postgres indices away: how fast is not what is measured.
alter table packages drop constraint the_same_stanza_is_the_same_package;
drop index packages_by_name, packages_by_same_key, packages_by_sha256, packages_by_path;

create temp table shapes as select 40 as suites, 65000 as packages, 1000 as repositories, 10 as versions;

insert into packages (id, digest, name, version, architecture, section, priority, relative_path, size,
                      sha256, same_key, stanza)
overriding system value
select (s - 1) * packages + n, md5(s || '-' || n)::uuid, name, '1.0-' || s, 'amd64', 'utils', 'optional', path, 1000,
       sha, hashtextextended(name, s),
       'Package: ' || name || E'\nVersion: 1.0-' || s || E'\nArchitecture: amd64'
       || E'\nMaintainer: Nobody <nobody@example.org>\nInstalled-Size: 1\nSection: utils\nPriority: optional'
       || E'\nDepends: libc6 (>= 2.36), libpackage-' || n / 2 || E'\nDescription: made for a benchmark'
       || E'\nFilename: ' || path || E'\nSize: 1000\nSHA256: ' || encode(sha, 'hex')
  from shapes, generate_series(1, suites) s, generate_series(1, packages) n
 cross join lateral (select 'package-' || n as name, sha256((s || '/' || n)::bytea) as sha) a
 cross join lateral (select 'pool/main/p/' || name || '/' || name || '_1.0-' || s || '_amd64.deb' as path) b;
select setval(pg_get_serial_sequence('packages', 'id'), max(id)) from packages;

alter table packages add constraint the_same_stanza_is_the_same_package unique (digest) include (id, architecture);
create index packages_by_name on packages (name text_pattern_ops, version);
create index packages_by_same_key on packages (same_key);
create index packages_by_sha256 on packages (sha256);
create index packages_by_path on packages using hash (relative_path);

insert into releases (codename, suite, distribution) select 'suite-' || s, 'suite-' || s, 'suite-' || s from shapes, generate_series(1, suites) s;
insert into release_architectures (distribution, architecture, base_architecture) select distribution, 'amd64', 'amd64' from releases order by id;
insert into release_components (distribution, component) select distribution, 'main' from releases order by id;
insert into content_lists (kind, release_component, index_architecture) select 11, id, 'amd64' from release_components order by id;

-- The bits of each suite: (list, chunk, bits); a link's list holds the bits of its packages.
create temp table suite_chunks as
select s, l.id as list, chunk, bits
  from (select (id - 1) / packages + 1 as s, chunk_of(id) as chunk, bit_or(one_bit(id)) as bits
          from packages, shapes group by 1, 2) p
  join release_components c on c.distribution = 'suite-' || s
  join content_lists l on l.kind = 1 or l.release_component = c.id
union all
select u.id, l.id, chunk_of(u.id), one_bit(u.id)
  from releases u join content_lists l on l.kind in (8, 9, 10);

insert into remotes (name, url, distributions, policy)
select 'remote-' || s, 'http://127.0.0.1:9/', 'suite-' || s, 'on_demand' from shapes, generate_series(1, suites) s;
insert into repositories (name, remote, last_number)
select 'repository-' || r, m.id, versions
  from shapes cross join generate_series(1, repositories) r join remotes m on m.name = 'remote-' || (r % suites + 1)
 order by r;
insert into repository_versions (repository, number)
select r.id, n from repositories r, shapes, generate_series(0, versions) n order by 1, 2;

-- Each version leaves another package of each chunk out.
insert into repository_chunks (repository, list, chunk, added, removed, bits)
select r.id, c.list, c.chunk, n, nullif(n + 1, last + 1),
       case last when 1 then c.bits else set_bit(c.bits, position(B'1' in c.bits) - 1 + n, 0) end
  from shapes cross join repositories r join remotes m on m.id = r.remote
  join suite_chunks c on 'suite-' || c.s = m.distributions
 cross join lateral (select case bit_count(c.bits) when 1 then 1 else versions end as last) l
 cross join generate_series(1, last) n
 order by r.id, c.list, c.chunk, n;

insert into version_counts (repository, number, kind, present, added, removed)
select v.repository, v.number, l.kind, sum(bit_count(c.bits)),
       case v.number when 1 then sum(bit_count(c.bits)) else count(*) filter (where c.added = v.number) end,
       case v.number when 1 then 0 else count(*) filter (where c.added = v.number) end
  from repository_versions v
  join repository_chunks c on c.repository = v.repository and c.added <= v.number and (c.removed is null or c.removed > v.number)
  join content_lists l on l.id = c.list
 group by v.repository, v.number, l.kind order by 1, 2, 3;

analyze;
