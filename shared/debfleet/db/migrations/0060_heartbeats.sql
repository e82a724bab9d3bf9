-- A heartbeat changes no indexed column, and its page has room for it: the row is rewritten where it is, and
-- neither an index nor autovacuum has anything to do.
drop index processes_by_kind;
create index live_processes on processes (kind) where ended is null;
alter table processes set (fillfactor = 50);
