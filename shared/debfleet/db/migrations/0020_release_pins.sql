-- What makes apt treat a suite as backports or experimental; two suites that differ in nothing else are
-- two releases. A version before this one finds a release by its other fields.

alter table releases add column not_automatic text, add column but_automatic_upgrades text;
drop index the_same_release_fields_are_the_same_release;
create unique index the_same_release_fields_are_the_same_release on releases
  (texts_key(codename, suite, distribution, version, origin, label, description, not_automatic, but_automatic_upgrades));
