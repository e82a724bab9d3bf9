-- name: dealt
-- For a statement that has missing (sha256, size, path): into which chunk each goes. Neighbours of the
-- archive go together. For each of the slots there is a chunk of half its share, since each end of one
-- costs, and two of a quarter, so that no slot waits long for another; all of 16 files at least. A
-- slot alone waits for none: two halves. Neither bound is passed; a file of unknown size counts as one
-- of 4 MiB.
shares as (
  select least(%(most_files)s, greatest(16, (count(*) - 1) / (2 * %(slots)s) + 1)) as half,
         least(%(most_files)s, greatest(16, (count(*) - 1) /
               (case %(slots)s when 1 then 2 else 4 * %(slots)s end) + 1)) as quarter
    from missing),
placed as (
  select sha256, size, path, row_number() over w - 1 as place,
         floor((sum(coalesce(size, 4 << 20)) over w - coalesce(size, 4 << 20)) / %(most_bytes)s::numeric) as by_bytes
    from missing
  window w as (order by path, sha256)),
dealt as (
  select sha256, size, path,
         dense_rank() over (
           order by case when place < %(slots)s * half then place / half
                         else %(slots)s + (place - %(slots)s * half) / quarter end, by_bytes) as chunk
    from placed, shares)

-- name: deal_files
with missing as materialized (
  select sha256, size, path from task_files where task = %(task)s and chunk is null),
/* dealt */,
done as (
  update task_files t set opener = %(opener)s, chunk = dealt.chunk
    from dealt where t.task = %(task)s and t.sha256 = dealt.sha256 and t.chunk is null
  returning t.chunk)
select chunk, count(*)::int as files from done group by chunk order by chunk;
