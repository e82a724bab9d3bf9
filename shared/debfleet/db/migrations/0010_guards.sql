-- What a remote is to be stopped by, and what it last gave, to compare with.

alter table remotes add column guards jsonb not null default '{}'   -- guard: off, warn or refuse; absent: its default
  constraint guards_are_an_object check (jsonb_typeof(guards) = 'object');

create table seen_releases (             -- what a remote last gave for a dist, at the URL that it had then
  remote int not null references remotes on delete cascade,
  url text not null, directory text not null,    -- of the Release file
  date timestamptz, codename text not null, origin text, label text,
  packages bigint, taken jsonb,          -- how many its indices listed for what was asked; null: not counted yet
  seen timestamptz not null default now());
create unique index a_remote_saw_a_dist_last_once on seen_releases (remote, texts_key(url, directory));

-- Why upstream did not give a file that the sync may go without.
alter table task_files add column refused text;
