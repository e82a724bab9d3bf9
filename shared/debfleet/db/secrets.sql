-- Every column that holds sealed text: what it is sealed with, and sealing it anew.

-- name: count_by_key
-- A sealed value begins with the id of its key. Changes that wait hold theirs in hex.
with sealed (what, value) as (
  select 'remotes', v from remotes
   cross join unnest(array[client_key, username, password, proxy_username, proxy_password]) v
  union all select 'signing services', secret from signing_services
  union all select 'installation', secret_check from installation
  union all
  select 'changes', decode(v.value #>> '{}', 'hex')
    from tasks t
   cross join lateral jsonb_each(t.args -> 'values') v
   where t.kind = 'change' and t.finished is null and t.args ->> 'table' = 'remotes'
     and v.key = any(%(sealed)s::text[]) and v.value <> 'null')
select what, encode(substring(value for 4), 'hex') as key, count(*) as count
  from sealed where value is not null group by 1, 2 order by 1, 2;

-- name: list_remotes_to_seal
select id, client_key, username, password, proxy_username, proxy_password from remotes
 where exists (select from unnest(array[client_key, username, password, proxy_username, proxy_password]) v
                where substring(v for 4) <> %(key)s)
 order by id limit 200 for no key update;

-- name: seal_remotes
-- What users see as the time of the last change stays.
update remotes r set client_key = n.client_key, username = n.username, password = n.password,
       proxy_username = n.proxy_username, proxy_password = n.proxy_password
  from unnest(%(ids)s::int[], %(client_key)s::bytea[], %(username)s::bytea[], %(password)s::bytea[],
              %(proxy_username)s::bytea[], %(proxy_password)s::bytea[])
       as n (id, client_key, username, password, proxy_username, proxy_password)
 where r.id = n.id;

-- name: list_services_to_seal
select id, secret from signing_services
 where substring(secret for 4) <> %(key)s order by id limit 200 for no key update;

-- name: seal_services
update signing_services s set secret = n.secret
  from unnest(%(ids)s::int[], %(secrets)s::bytea[]) as n (id, secret) where s.id = n.id;

-- name: list_changes_to_seal
-- Not those that a worker is at: they come to an end by themselves.
select id, args from tasks
 where kind = 'change' and state = 'waiting' and args ->> 'table' = 'remotes'
   and exists (select from jsonb_each(args -> 'values') v
                where v.key = any(%(sealed)s::text[]) and v.value <> 'null'
                  and left(v.value #>> '{}', 8) <> encode(%(key)s, 'hex'))
 order by id limit 200 for no key update skip locked;

-- name: seal_changes
update tasks t set args = n.args
  from unnest(%(ids)s::bigint[], %(args)s::jsonb[]) as n (id, args) where t.id = n.id;

-- name: seal_check
update installation set secret_check = %(value)s where substring(secret_check for 4) <> %(key)s;
