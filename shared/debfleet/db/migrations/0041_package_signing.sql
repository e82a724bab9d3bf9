-- Packages that are signed when a repository takes them in.

create table signed_files (              -- what a file became when it was signed; the same file is not signed again
  sha256 bytea not null constraint a_digest_of_what_was_signed_has_32_bytes check (octet_length(sha256) = 32),
  key text not null,                     -- as a repository names it: v4:FINGERPRINT, keyid:ID
  signed bytea not null references artifacts (sha256) on delete cascade,
  created timestamptz not null default now(),
  primary key (sha256, key));
create index signed_files_by_result on signed_files (signed);
