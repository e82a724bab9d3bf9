-- Units that a client makes one by one. Each is added if it is new, and then found and touched:
-- cleanup leaves it for a while.

-- name: add_package
insert into packages (digest, kind, name, version, architecture, architecture_variant, source, section,
                      priority, multi_arch, relative_path, size, sha256, same_key, stanza)
select %(digest)s, %(kind)s, %(name)s, %(version)s, %(architecture)s, %(architecture_variant)s, %(source)s,
       %(section)s, %(priority)s, %(multi_arch)s, %(relative_path)s, %(size)s, %(sha256)s,
       %(same_key)s, %(stanza)s
 where not exists (select from packages where digest = %(digest)s)
    on conflict do nothing

-- name: find_package
update packages set last_wanted = now() where digest = %(digest)s returning id

-- name: add_release
insert into releases (codename, suite, distribution, version, origin, label, description)
select %(codename)s, %(suite)s, %(distribution)s, %(version)s, %(origin)s, %(label)s, %(description)s
 where not exists (select from releases
   where texts_key(codename, suite, distribution, version, origin, label, description, not_automatic, but_automatic_upgrades)
       = texts_key(%(codename)s, %(suite)s, %(distribution)s, %(version)s, %(origin)s, %(label)s, %(description)s, null, null))
    on conflict do nothing

-- name: find_release
update releases set last_wanted = now()
 where texts_key(codename, suite, distribution, version, origin, label, description, not_automatic, but_automatic_upgrades)
     = texts_key(%(codename)s, %(suite)s, %(distribution)s, %(version)s, %(origin)s, %(label)s, %(description)s, null, null)
returning id

-- name: add_release_architecture
insert into release_architectures (distribution, architecture, base_architecture, variant_architecture)
select %(distribution)s, %(architecture)s, %(base_architecture)s, %(variant_architecture)s
 where not exists (select from release_architectures
                    where distribution = %(distribution)s and architecture = %(architecture)s)
    on conflict do nothing

-- name: find_release_architecture
update release_architectures set last_wanted = now()
 where distribution = %(distribution)s and architecture = %(architecture)s
returning id

-- name: add_release_component
insert into release_components (distribution, component)
select %(distribution)s, %(component)s
 where not exists (select from release_components
                    where distribution = %(distribution)s and component = %(component)s)
    on conflict do nothing

-- name: find_release_component
update release_components set last_wanted = now()
 where distribution = %(distribution)s and component = %(component)s
returning id

-- name: add_list
-- The place of a package: its component's list for its architecture.
insert into content_lists (kind, release_component, index_architecture)
select 11, %(component)s, %(architecture)s
 where not exists (select from content_lists where kind = 11 and release_component = %(component)s
                      and index_architecture = %(architecture)s)
    on conflict do nothing

-- name: find_list
select id from content_lists
 where kind = 11 and release_component = %(component)s and index_architecture = %(architecture)s

-- name: get_architecture
select architecture from packages where id = %(package)s

-- name: touch_link_ends
-- They are wanted as long as what they link is.
with p as (update packages set last_wanted = now() where id = %(package)s)
update release_components set last_wanted = now() where id = %(component)s

-- name: add_loose_link
insert into loose_links (list, package) values (%(list)s, %(package)s) on conflict do nothing

-- name: add_generic
insert into generic_contents (relative_path, sha256, size)
select %(relative_path)s, %(sha256)s, %(size)s
 where not exists (select from generic_contents
                    where sha256 = %(sha256)s and texts_key(relative_path) = texts_key(%(relative_path)s))
    on conflict do nothing

-- name: find_generic
update generic_contents set last_wanted = now()
 where sha256 = %(sha256)s and texts_key(relative_path) = texts_key(%(relative_path)s)
returning id
