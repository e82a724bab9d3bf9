-- What becomes of files that upstream drops, that a version which is kept still lists, and that are
-- not stored: they are left, or fetched before the sync ends.

alter table remotes add column vanishing text not null default 'leave'
  constraint what_becomes_of_vanishing_files_is_known check (vanishing in ('leave', 'fetch'));
