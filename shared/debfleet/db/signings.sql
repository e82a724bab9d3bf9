-- Packages that a repository signs.

-- name: find_signing
-- No row: the repository signs no packages.
select r.package_signing_service as service, r.package_signing_fingerprint as key,
       r.package_signing_fingerprint_release_overrides as overrides
  from repositories r
 where r.id = %(repository)s and r.package_signing_service is not null

-- name: list_packages
-- stored: the size of its file, null where that was not downloaded.
select p.id, p.sha256, p.size, p.stanza, p.relative_path, a.size as stored
  from packages p left join artifacts a on a.sha256 = p.sha256
 where p.id = any(%(ids)s::bigint[])
 order by p.id

-- name: list_distributions
-- Of lists of links: the distribution that each lies in.
select l.id as list, r.distribution
  from content_lists l join release_components r on r.id = l.release_component
 where l.id = any(%(lists)s::int[])

-- name: claim_files
-- The task is to read them: cleanup leaves them until it ends.
insert into task_files (task, sha256, size, path, opener, chunk)
select %(task)s, f.sha256, f.size, '', 0, -1
  from unnest(%(digests)s::bytea[], %(sizes)s::bigint[]) as f (sha256, size)
 order by f.sha256
    on conflict (task, sha256) do nothing

-- name: find_signed
select a.sha256, a.size from signed_files s join artifacts a on a.sha256 = s.signed
 where s.sha256 = %(sha256)s and s.key = %(key)s

-- name: add_signed
insert into signed_files (sha256, key, signed) values (%(sha256)s, %(key)s, %(signed)s)
    on conflict (sha256, key) do update set signed = excluded.signed, created = now()
